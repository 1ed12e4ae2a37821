// A box that scrolls sideways has to be reachable with the keyboard.
(function () {
  "use strict";

  const boxes = ".bd-article pre, .bd-article div.math, .bd-article mjx-container, .bd-article dt.sig, .pst-scrollable-table-container";

  function makeReachable() {
    for (const box of document.querySelectorAll(boxes)) {
      if (box.scrollWidth > box.clientWidth + 1) {
        box.setAttribute("tabindex", "0");
      } else if (box.getAttribute("tabindex") === "0") {
        box.removeAttribute("tabindex");
      }
    }
  }

  async function start() {
    if (window.MathJax && window.MathJax.startup) {
      await window.MathJax.startup.promise;
    }
    makeReachable();
    window.addEventListener("resize", makeReachable);
  }

  window.addEventListener("load", start);
})();
