// Part of the simulator's cooperative_groups.h.
#pragma once
#include <cooperative_groups.h>
