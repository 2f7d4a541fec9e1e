// Reductions and scans of cooperative groups within a warp.
#pragma once

namespace cooperative_groups {

// Each tile combines by halving distances, so that every thread ends with the
// result, and every thread with the same bits.
template <unsigned N, class T, class Op>
SIM_INLINE T sim_reduce(const sim_tile<N> &g, T v, Op op, int line) {
  for (unsigned by = N / 2; by > 0; by /= 2) v = op(v, g.shfl_xor(v, by, line));
  return v;
}
template <class G, class T, class Op>
SIM_INLINE T sim_scan(const G &g, T v, Op op, int line) {
  unsigned rank = g.thread_rank(), size = g.size();
  for (unsigned by = 1; by < size; by *= 2) {
    T u = g.shfl_up(v, by, line);
    if (rank >= by) v = op(u, v);
  }
  return v;
}
template <class T, class Op>
SIM_INLINE T sim_reduce(const coalesced_group &g, T v, Op op, int line) {
  return g.shfl(sim_scan(g, v, op, line), g.size() - 1, line);
}
template <class G, class T, class Op>
SIM_INLINE T reduce(const G &g, T v, Op op, SIM_LINE) {
  return sim_reduce(g, v, op, line);
}
template <class G, class T, class Op>
SIM_INLINE T inclusive_scan(const G &g, T v, Op op, SIM_LINE) {
  return sim_scan(g, v, op, line);
}
template <class G, class T>
SIM_INLINE T inclusive_scan(const G &g, T v, SIM_LINE) {
  return sim_scan(g, v, plus<T>(), line);
}
// The first thread of the group is given T().
template <class G, class T, class Op>
SIM_INLINE T exclusive_scan(const G &g, T v, Op op, SIM_LINE) {
  T before = g.shfl_up(sim_scan(g, v, op, line), 1, line);
  return g.thread_rank() == 0 ? T() : before;
}
template <class G, class T>
SIM_INLINE T exclusive_scan(const G &g, T v, SIM_LINE) {
  return exclusive_scan(g, v, plus<T>(), line);
}
// One thread of the group calls `f`.
template <class G, class F, class... A>
SIM_INLINE void invoke_one(const G &g, F &&f, A &&...a) {
  if (g.thread_rank() == 0) f(static_cast<A &&>(a)...);
}

}  // namespace cooperative_groups
