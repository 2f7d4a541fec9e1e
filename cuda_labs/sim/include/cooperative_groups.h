// Cooperative groups: thread blocks, tiles of a warp and coalesced threads.
#pragma once

namespace cooperative_groups {

template <class T>
struct plus {
  SIM_INLINE T operator()(T a, T b) const { return a + b; }
};
template <class T>
struct less {
  SIM_INLINE T operator()(T a, T b) const { return b < a ? b : a; }
};
template <class T>
struct greater {
  SIM_INLINE T operator()(T a, T b) const { return a < b ? b : a; }
};
template <class T>
struct bit_and {
  SIM_INLINE T operator()(T a, T b) const { return a & b; }
};
template <class T>
struct bit_or {
  SIM_INLINE T operator()(T a, T b) const { return a | b; }
};
template <class T>
struct bit_xor {
  SIM_INLINE T operator()(T a, T b) const { return a ^ b; }
};

SIM_INLINE unsigned sim_linear() {
  return threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
}

struct thread_block {
  SIM_INLINE static void sync(SIM_LINE) { __syncthreads(line); }
  SIM_INLINE static unsigned thread_rank() { return sim_linear(); }
  SIM_INLINE static unsigned size() {
    return blockDim.x * blockDim.y * blockDim.z;
  }
  SIM_INLINE static unsigned num_threads() { return size(); }
  SIM_INLINE static dim3 group_index() { return blockIdx; }
  SIM_INLINE static dim3 thread_index() { return threadIdx; }
  SIM_INLINE static dim3 group_dim() { return blockDim; }
  SIM_INLINE static dim3 dim_threads() { return blockDim; }
};
SIM_INLINE thread_block this_thread_block() { return thread_block(); }

// Every thread of the launch: numbered, but unable to wait for each other.
#define SIM_GRID_WIDE __attribute__((error("grid-wide synchronisation")))
struct grid_group {
  SIM_GRID_WIDE static void sync();
  SIM_GRID_WIDE static unsigned barrier_arrive();
  SIM_GRID_WIDE static void barrier_wait(unsigned);
  SIM_INLINE static bool is_valid() { return true; }
  SIM_INLINE static unsigned long long block_rank() {
    return blockIdx.x +
           gridDim.x * (blockIdx.y + gridDim.y * (unsigned long long)blockIdx.z);
  }
  SIM_INLINE static unsigned long long num_blocks() {
    return (unsigned long long)gridDim.x * gridDim.y * gridDim.z;
  }
  SIM_INLINE static unsigned long long thread_rank() {
    return block_rank() * thread_block::size() + sim_linear();
  }
  SIM_INLINE static unsigned long long num_threads() {
    return num_blocks() * thread_block::size();
  }
  SIM_INLINE static unsigned long long size() { return num_threads(); }
  SIM_INLINE static dim3 group_dim() { return gridDim; }
  SIM_INLINE static dim3 dim_blocks() { return gridDim; }
  SIM_INLINE static dim3 block_index() { return blockIdx; }

 private:
  grid_group() = default;
  friend grid_group this_grid();
};
SIM_INLINE grid_group this_grid() { return grid_group(); }
SIM_GRID_WIDE void sync(const grid_group &);

// Threads of one warp: `mask` names their lanes. A group that was split off
// knows its number among its siblings, and how many they are.
struct sim_lanes {
  unsigned mask, meta_rank = 0, meta_size = 1;
  SIM_INLINE unsigned lane() const { return sim_linear() % 32; }
  SIM_INLINE unsigned meta_group_rank() const { return meta_rank; }
  SIM_INLINE unsigned meta_group_size() const { return meta_size; }
  SIM_INLINE void sync(SIM_LINE) const { __syncwarp(mask, line); }
  SIM_INLINE int any(int p, SIM_LINE) const { return __any_sync(mask, p, line); }
  SIM_INLINE int all(int p, SIM_LINE) const { return __all_sync(mask, p, line); }

 protected:
  // Larger values travel in parts of eight bytes.
  template <class T>
  SIM_INLINE T move(int kind, T v, int by, int width, int line) const {
    constexpr int parts = (sizeof(T) + 7) / 8;
    unsigned long long words[parts] = {};
    __builtin_memcpy(words, &v, sizeof(T));
    for (int i = 0; i < parts; ++i)
      words[i] = sim_collective(kind, mask, words[i], sizeof(T) < 8 ? sizeof(T) : 8,
                                by, width, line);
    __builtin_memcpy((void *)&v, words, sizeof(T));
    return v;
  }
};

template <unsigned N>
struct sim_tile : sim_lanes {
  static_assert(N >= 1 && N <= 32 && (N & (N - 1)) == 0,
                "a tile has 1, 2, 4, 8, 16 or 32 threads");
  SIM_INLINE sim_tile() {
    mask = (N == 32 ? ~0u : (1u << N % 32) - 1) << (lane() & ~(N - 1));
  }
  SIM_INLINE unsigned thread_rank() const { return lane() % N; }
  SIM_INLINE static constexpr unsigned size() { return N; }
  SIM_INLINE static constexpr unsigned num_threads() { return N; }
  template <class T>
  SIM_INLINE T shfl(T v, int rank, SIM_LINE) const {
    return move(SIM_SHFL, v, rank, N, line);
  }
  template <class T>
  SIM_INLINE T shfl_up(T v, unsigned by, SIM_LINE) const {
    return move(SIM_SHFL_UP, v, (int)by, N, line);
  }
  template <class T>
  SIM_INLINE T shfl_down(T v, unsigned by, SIM_LINE) const {
    return move(SIM_SHFL_DOWN, v, (int)by, N, line);
  }
  template <class T>
  SIM_INLINE T shfl_xor(T v, unsigned by, SIM_LINE) const {
    return move(SIM_SHFL_XOR, v, (int)by, N, line);
  }
  SIM_INLINE unsigned ballot(int p, SIM_LINE) const {
    return __ballot_sync(mask, p, line) >> (lane() & ~(N - 1));
  }
  template <class T>
  SIM_INLINE unsigned match_any(T v, SIM_LINE) const {
    return __match_any_sync(mask, v, line) >> (lane() & ~(N - 1));
  }
  template <class T>
  SIM_INLINE unsigned match_all(T v, int &p, SIM_LINE) const {
    return __match_all_sync(mask, v, &p, line) >> (lane() & ~(N - 1));
  }
};
template <unsigned N, class Parent = void>
struct thread_block_tile : sim_tile<N> {
  thread_block_tile() = default;
  SIM_INLINE thread_block_tile(const sim_tile<N> &t) : sim_tile<N>(t) {}
};

template <unsigned N>
SIM_INLINE thread_block_tile<N, thread_block> tiled_partition(
    const thread_block &) {
  thread_block_tile<N, thread_block> t;
  t.meta_rank = sim_linear() / N;
  t.meta_size = (thread_block::size() + N - 1) / N;
  return t;
}
template <unsigned N, unsigned M, class P>
SIM_INLINE thread_block_tile<N, thread_block_tile<M, P>> tiled_partition(
    const thread_block_tile<M, P> &g) {
  static_assert(N <= M, "a tile of a tile is not larger");
  thread_block_tile<N, thread_block_tile<M, P>> t;
  t.meta_rank = g.thread_rank() / N;
  t.meta_size = M / N;
  return t;
}

// Some lanes of a warp, numbered from the lowest.
struct coalesced_group : sim_lanes {
  SIM_INLINE unsigned thread_rank() const {
    return (unsigned)__popc(mask & ((1u << lane()) - 1));
  }
  SIM_INLINE unsigned size() const { return (unsigned)__popc(mask); }
  SIM_INLINE unsigned num_threads() const { return size(); }
  // The lane with a rank; a rank beyond the group is the caller itself.
  SIM_INLINE int sim_lane_of(unsigned rank) const {
    unsigned rest = mask;
    for (unsigned r = 0; r < rank && rest; ++r) rest &= rest - 1;
    return rest ? __ffs((int)rest) - 1 : (int)lane();
  }
  template <class T>
  SIM_INLINE T shfl(T v, unsigned rank, SIM_LINE) const {
    return move(SIM_SHFL, v, sim_lane_of(rank), 32, line);
  }
  template <class T>
  SIM_INLINE T shfl_down(T v, unsigned by, SIM_LINE) const {
    return move(SIM_SHFL, v, sim_lane_of(thread_rank() + by), 32, line);
  }
  template <class T>
  SIM_INLINE T shfl_up(T v, unsigned by, SIM_LINE) const {
    unsigned rank = thread_rank();
    return move(SIM_SHFL, v, sim_lane_of(rank < by ? rank : rank - by), 32, line);
  }
  SIM_INLINE unsigned ballot(int p, SIM_LINE) const {
    return sim_packed(__ballot_sync(mask, p, line));
  }
  template <class T>
  SIM_INLINE unsigned match_any(T v, SIM_LINE) const {
    return sim_packed(__match_any_sync(mask, v, line));
  }
  template <class T>
  SIM_INLINE unsigned match_all(T v, int &p, SIM_LINE) const {
    return sim_packed(__match_all_sync(mask, v, &p, line));
  }

 private:
  // Bits by lane to bits by rank.
  SIM_INLINE unsigned sim_packed(unsigned lanes) const {
    unsigned packed = 0, rank = 0;
    for (unsigned l = 0; l < 32; ++l)
      if (mask >> l & 1) packed |= (lanes >> l & 1) << rank++;
    return packed;
  }
};
SIM_INLINE coalesced_group sim_coalesced(unsigned mask, unsigned rank = 0,
                                         unsigned size = 1) {
  coalesced_group g;
  g.mask = mask;
  g.meta_rank = rank;
  g.meta_size = size;
  return g;
}

// A warp's group by labels: numbered in the order of their lowest lanes.
SIM_INLINE coalesced_group binary_partition(const sim_lanes &g, bool p,
                                            SIM_LINE) {
  unsigned set = __ballot_sync(g.mask, p, line);
  if (set == g.mask || set == 0) return sim_coalesced(g.mask);
  return sim_coalesced(p ? set : g.mask & ~set, p, 2);
}
template <class T>
SIM_INLINE coalesced_group labeled_partition(const sim_lanes &g, T label,
                                             SIM_LINE) {
  unsigned mine = __match_any_sync(g.mask, label, line);
  unsigned first = mine & (0u - mine);
  unsigned heads = __ballot_sync(g.mask, first >> g.lane() & 1, line);
  return sim_coalesced(mine, (unsigned)__popc(heads & (first - 1)),
                       (unsigned)__popc(heads));
}
SIM_INLINE coalesced_group labeled_partition(const sim_lanes &g, bool label,
                                             SIM_LINE) {
  return binary_partition(g, label, line);
}

// Any of the groups above, seen only as threads that can wait for each other.
class thread_group {
 public:
  SIM_INLINE thread_group(const thread_block &) : count(thread_block::size()) {}
  template <unsigned N>
  SIM_INLINE thread_group(const sim_tile<N> &t) : mask(t.mask), count(N) {}
  SIM_INLINE thread_group(const coalesced_group &g)
      : mask(g.mask), count(g.size()) {}
  SIM_INLINE unsigned long long size() const { return count; }
  SIM_INLINE unsigned long long num_threads() const { return count; }
  SIM_INLINE unsigned long long thread_rank() const {
    if (mask == 0) return thread_block::thread_rank();
    return sim_coalesced(mask).thread_rank();
  }
  SIM_INLINE void sync(SIM_LINE) const {
    if (mask == 0) __syncthreads(line);
    else __syncwarp(mask, line);
  }

 private:
  unsigned mask = 0, count;
  SIM_INLINE thread_group(unsigned m, unsigned n) : mask(m), count(n) {}
  friend thread_group tiled_partition(const thread_group &g, unsigned n);
};
// Parts of `n` threads, a power of two up to 32.
SIM_INLINE thread_group tiled_partition(const thread_group &g, unsigned n) {
  if (n == 0 || n > 32 || (n & (n - 1))) __trap();
  unsigned from = sim_linear() % 32 & ~(n - 1);
  if (g.mask == 0) return thread_group((n == 32 ? ~0u : (1u << n) - 1) << from, n);
  if (g.count <= n) return g;
  unsigned rank = (unsigned)g.thread_rank(), mask = 0, seen = 0;
  for (unsigned l = 0; l < 32; ++l)
    if (g.mask >> l & 1) {
      if (seen / n == rank / n) mask |= 1u << l;
      ++seen;
    }
  return thread_group(mask, (unsigned)__popc(mask));
}

template <class G>
SIM_INLINE void sync(const G &g, SIM_LINE) {
  g.sync(line);
}
template <class G>
SIM_INLINE auto thread_rank(const G &g) -> decltype(g.thread_rank()) {
  return g.thread_rank();
}
template <class G>
SIM_INLINE auto group_size(const G &g) -> decltype(g.num_threads()) {
  return g.num_threads();
}

}  // namespace cooperative_groups

#include "sim_collectives.h"

#define coalesced_threads() sim_coalesced(__activemask())
