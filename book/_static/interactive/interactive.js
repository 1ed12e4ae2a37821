// Puts a live figure in the place of its picture: figure.interactive-NAME, on the pages that have one.
// Pages without such a figure load nothing more than this file. Without JavaScript, or if a script is
// missing, the picture stays. Scripts are loaded by tag, so a page opened from a folder works too.
(function () {
  "use strict";

  const folder = document.currentScript.src.replace(/[^/]*$/, "");
  const common = ["math.js", "widgets.js"];
  const needs = {
    competition: ["competition-data.js", "competition.js"],
    klein: ["klein.js"],
  };
  const loading = {};

  function load(name) {
    loading[name] = loading[name] || new Promise(function (resolve, reject) {
      const script = document.createElement("script");
      script.src = folder + name;
      script.async = false; // in the order given
      script.onload = resolve;
      script.onerror = reject;
      document.head.appendChild(script);
    });
    return loading[name];
  }

  function start() {
    for (const name of Object.keys(needs)) {
      for (const figure of document.querySelectorAll("figure.interactive-" + name)) {
        Promise.all(common.concat(needs[name]).map(load)).then(
          function () { window.bionet.figures[name](figure); },
          function () { /* the picture stays */ }
        );
      }
    }
  }

  if (document.readyState === "loading") {
    document.addEventListener("DOMContentLoaded", start);
  } else {
    start();
  }
})();
