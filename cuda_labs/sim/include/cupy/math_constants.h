// CUDART_INF and the like are part of every source (sim_math.h).
#pragma once
