// CuPy's header of this name brings type traits and limits.
#pragma once
#include "../sim_traits.h"
