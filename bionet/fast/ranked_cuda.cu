// The fast rule's kernels. The compiler is given REAL (float or double), POW, THREADS (a power of two, at least
// the threads of a block) and MOST_ENTRIES. Every loop strides by the block: a smaller block is right too.

extern "C" __global__ void gather(
    const REAL* images, const int* order, const int* minibatch, REAL* batch, int size, int features) {
  const long long image = order[(long long)minibatch[0] * size + blockIdx.x];
  for (int f = threadIdx.x; f < features; f += blockDim.x)
    batch[(long long)blockIdx.x * features + f] = images[image * features + f];
}

// Whether current x of unit i ranks before y of unit j. No number ranks first, as in NumPy's argmax; equal
// currents rank by index.
__device__ bool before(REAL x, int i, REAL y, int j) {
  const bool x_is_none = x != x, y_is_none = y != y;
  if (x_is_none != y_is_none) return x_is_none;
  return x > y || ((x == y || x_is_none) && i < j);
}

// The larger; no number if either is none.
__device__ REAL larger(REAL x, REAL y) { return x != x || y <= x ? x : y; }

// The strongest unit and the k-th strongest of one image, k <= hidden.
extern "C" __global__ void rank_units(const REAL* currents, int* pair, int hidden, int k) {
  __shared__ REAL value[THREADS];
  __shared__ int unit[THREADS];
  const REAL* mine = currents + (long long)blockIdx.x * hidden;
  REAL last = 0;
  int last_unit = -1;
  for (int rank = 1; rank <= k; ++rank) {
    REAL best = 0;
    int best_unit = -1;
    for (int h = threadIdx.x; h < hidden; h += blockDim.x) {
      const REAL x = mine[h];
      const bool left = last_unit < 0 || before(last, last_unit, x, h);
      if (left && (best_unit < 0 || before(x, h, best, best_unit))) {
        best = x;
        best_unit = h;
      }
    }
    value[threadIdx.x] = best;
    unit[threadIdx.x] = best_unit;
    __syncthreads();
    for (int half = blockDim.x / 2; half > 0; half /= 2) {
      if (threadIdx.x < half) {
        const int other = threadIdx.x + half;
        const bool better =
            unit[other] >= 0 &&
            (unit[threadIdx.x] < 0 ||
             before(value[other], unit[other], value[threadIdx.x], unit[threadIdx.x]));
        if (better) {
          value[threadIdx.x] = value[other];
          unit[threadIdx.x] = unit[other];
        }
      }
      __syncthreads();
    }
    last = value[0];
    last_unit = unit[0];
    __syncthreads();
    if (threadIdx.x == 0) {
      if (rank == 1) pair[2 * blockIdx.x] = last_unit;
      if (rank == k) pair[2 * blockIdx.x + 1] = last_unit;
    }
  }
}

// A block an entry (image, role). The first entry that names a unit computes the whole change of its row.
extern "C" __global__ void change_rows(
    const REAL* batch, const REAL* currents, const REAL* W, const int* pair, REAL delta,
    REAL* change, REAL* largest, int* wins, int size, int hidden, int features) {
  __shared__ int entries[MOST_ENTRIES];
  __shared__ int count;
  __shared__ REAL coefficient;
  __shared__ REAL most[THREADS];
  const int entry = blockIdx.x;
  const int mine = pair[entry];
  if (threadIdx.x == 0) {
    count = 0;
    coefficient = 0;
    int won = 0;
    for (int e = 0; e < 2 * size; ++e) {
      if (pair[e] != mine) continue;
      if (e < entry) {  // another block has this unit
        count = 0;
        break;
      }
      entries[count++] = e;
      const REAL g = e % 2 ? -delta : (REAL)1;
      coefficient += g * currents[(long long)(e / 2) * hidden + mine];
      won += 1 - e % 2;
    }
    largest[entry] = 0;
    if (count) wins[mine] += won;
  }
  __syncthreads();
  if (count == 0) return;
  REAL top = 0;
  for (int f = threadIdx.x; f < features; f += blockDim.x) {
    REAL sum = 0;
    for (int i = 0; i < count; ++i) {
      const REAL x = batch[(long long)(entries[i] / 2) * features + f];
      sum += entries[i] % 2 ? -delta * x : x;
    }
    sum -= coefficient * W[(long long)mine * features + f];
    change[(long long)entry * features + f] = sum;
    top = larger(top, sum < 0 ? -sum : sum);
  }
  most[threadIdx.x] = top;
  __syncthreads();
  for (int half = blockDim.x / 2; half > 0; half /= 2) {
    if (threadIdx.x < half) most[threadIdx.x] = larger(most[threadIdx.x], most[threadIdx.x + half]);
    __syncthreads();
  }
  if (threadIdx.x == 0) largest[entry] = most[0];
}

__device__ REAL covector(REAL w, REAL p) {
  const REAL a = w < 0 ? -w : w;
  if (p == 3) return w * a;
  if (p == 2) return w;
  if (p == 4) return w * a * a;
  if (w == 0) return w;
  const REAL power = POW(a, p - 1);
  return w < 0 ? -power : power;
}

// A block a row.
extern "C" __global__ void covectors(const REAL* W, REAL* P, REAL p, int features) {
  const long long row = (long long)blockIdx.x * features;
  for (int f = threadIdx.x; f < features; f += blockDim.x) P[row + f] = covector(W[row + f], p);
}

// Entries whose change is not zero own their row. The last act of a step counts the minibatch.
extern "C" __global__ void apply_rows(
    REAL* W, REAL* P, const int* pair, const REAL* change, const REAL* largest,
    const REAL* rate, REAL smallest, REAL p, int* minibatch, int entries, int features) {
  __shared__ REAL scale;
  if (threadIdx.x == 0) {
    REAL top = smallest;
    for (int e = 0; e < entries; ++e) top = larger(top, largest[e]);
    scale = rate[0] / top;
    if (blockIdx.x == 0) minibatch[0] += 1;
  }
  __syncthreads();
  if (largest[blockIdx.x] == 0) return;
  const long long row = (long long)pair[blockIdx.x] * features;
  for (int f = threadIdx.x; f < features; f += blockDim.x) {
    const REAL w = W[row + f] + scale * change[(long long)blockIdx.x * features + f];
    W[row + f] = w;
    if (P != W) P[row + f] = covector(w, p);
  }
}
