#pragma once
#include <sim_cub.h>
