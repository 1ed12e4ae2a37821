// CUDA's words on the host: a thread of the host for each thread of a block, a real barrier for each block.
//
// Just what the kernels use; they use no atomics and no warps. Nothing runs in step here, so that a barrier that
// a warp of a GPU would forgive is missed too. The kernels are compiled once for each block that can run at the
// same time: what is static in a copy is what the threads of its block share.
#pragma once

#include <barrier>
#include <cmath>
#include <deque>
#include <thread>
#include <vector>

struct Index {
  unsigned x;
};

static thread_local Index threadIdx, blockIdx, blockDim;
static thread_local std::barrier<>* barrier_of_block;

extern "C" {
int removed_barrier = 0;  // the line of the barrier to leave out; 0: none
}

static void synchronise(int line) {
  if (line != removed_barrier) barrier_of_block->arrive_and_wait();
}

#define __global__
#define __device__ static
#define __shared__ static
#define __syncthreads() synchronise(__LINE__)

// Run kernel(copy) in every block of a launch, at most `copies` blocks at a time.
template <class Kernel>
void launch(int blocks, int threads, int copies, Kernel kernel) {
  const int teams = blocks < copies ? blocks : copies;
  std::deque<std::barrier<>> barriers;
  std::vector<std::thread> running;
  for (int team = 0; team < teams; ++team) {
    std::barrier<>& barrier = barriers.emplace_back(threads);
    for (int thread = 0; thread < threads; ++thread)
      running.emplace_back([=, &barrier] {
        threadIdx.x = thread;
        blockDim.x = threads;
        barrier_of_block = &barrier;
        for (int block = team; block < blocks; block += teams) {
          blockIdx.x = block;
          kernel(team);
          barrier.arrive_and_wait();  // the next block takes the shared memory over
        }
        barrier.arrive_and_drop();  // where a removed barrier led threads astray, none waits for ever
      });
  }
  for (std::thread& thread : running) thread.join();
}
