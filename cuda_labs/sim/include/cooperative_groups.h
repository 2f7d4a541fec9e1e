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

// Threads of one warp: `mask` names their lanes.
struct sim_lanes {
  unsigned mask;
  SIM_INLINE unsigned lane() const { return sim_linear() % 32; }
  SIM_INLINE void sync(SIM_LINE) const { __syncwarp(mask, line); }
  SIM_INLINE int any(int p, SIM_LINE) const { return __any_sync(mask, p, line); }
  SIM_INLINE int all(int p, SIM_LINE) const { return __all_sync(mask, p, line); }

 protected:
  template <class T>
  SIM_INLINE T move(int kind, T v, int by, int width, int line) const {
    static_assert(sizeof(T) <= 8, "the simulator shuffles up to 8 bytes");
    return sim_from_bits<T>(
        sim_collective(kind, mask, sim_bits(v), sizeof(T), by, width, line));
  }
};

template <unsigned N, class Parent = void>
struct thread_block_tile : sim_lanes {
  static_assert(N >= 1 && N <= 32 && (N & (N - 1)) == 0,
                "a tile has 1, 2, 4, 8, 16 or 32 threads");
  SIM_INLINE thread_block_tile() {
    mask = (N == 32 ? ~0u : (1u << N % 32) - 1) << (lane() & ~(N - 1));
  }
  SIM_INLINE unsigned thread_rank() const { return lane() % N; }
  SIM_INLINE static constexpr unsigned size() { return N; }
  SIM_INLINE static constexpr unsigned num_threads() { return N; }
  SIM_INLINE unsigned meta_group_rank() const { return sim_linear() / N; }
  SIM_INLINE unsigned meta_group_size() const {
    return (thread_block::size() + N - 1) / N;
  }
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
};

template <unsigned N>
SIM_INLINE thread_block_tile<N> tiled_partition(const thread_block &) {
  return thread_block_tile<N>();
}
template <unsigned N, unsigned M, class P>
SIM_INLINE thread_block_tile<N> tiled_partition(
    const thread_block_tile<M, P> &) {
  static_assert(N <= M, "a tile of a tile is not larger");
  return thread_block_tile<N>();
}

// The lanes that are active here, numbered from the lowest.
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
    unsigned votes = __ballot_sync(mask, p, line), packed = 0, rank = 0;
    for (unsigned l = 0; l < 32; ++l)
      if (mask >> l & 1) packed |= (votes >> l & 1) << rank++;
    return packed;
  }
};
SIM_INLINE coalesced_group sim_coalesced(unsigned mask) {
  coalesced_group g;
  g.mask = mask;
  return g;
}

template <class G>
SIM_INLINE void sync(const G &g, SIM_LINE) {
  g.sync(line);
}

// Each tile combines by halving distances, so that every thread ends with the
// result, and every thread with the same bits.
template <unsigned N, class P, class T, class Op>
SIM_INLINE T reduce(const thread_block_tile<N, P> &g, T v, Op op, SIM_LINE) {
  for (unsigned by = N / 2; by > 0; by /= 2) v = op(v, g.shfl_xor(v, by, line));
  return v;
}
template <unsigned N, class P, class T, class Op>
SIM_INLINE T inclusive_scan(const thread_block_tile<N, P> &g, T v, Op op,
                            SIM_LINE) {
  for (unsigned by = 1; by < N; by *= 2) {
    T u = g.shfl_up(v, by, line);
    if (g.thread_rank() >= by) v = op(u, v);
  }
  return v;
}
template <unsigned N, class P, class T>
SIM_INLINE T inclusive_scan(const thread_block_tile<N, P> &g, T v, SIM_LINE) {
  return inclusive_scan(g, v, plus<T>(), line);
}

}  // namespace cooperative_groups

#define coalesced_threads() sim_coalesced(__activemask())
