// What kernels use of <type_traits> and <limits>, and the integer types, in
// std:: as for nvcc and in cuda::std:: as for NVRTC.
#pragma once

namespace std {
using ::size_t;
using ::ptrdiff_t;
using ::int8_t;
using ::int16_t;
using ::int32_t;
using ::int64_t;
using ::uint8_t;
using ::uint16_t;
using ::uint32_t;
using ::uint64_t;
using ::intptr_t;
using ::uintptr_t;

template <class T, T V>
struct integral_constant {
  typedef T value_type;
  typedef integral_constant type;
  static constexpr T value = V;
  SIM_INLINE constexpr operator T() const { return V; }
  SIM_INLINE constexpr T operator()() const { return V; }
};
template <bool V>
using bool_constant = integral_constant<bool, V>;
typedef bool_constant<true> true_type;
typedef bool_constant<false> false_type;
template <class...>
using void_t = void;

template <bool C, class T = void>
struct enable_if {};
template <class T>
struct enable_if<true, T> {
  typedef T type;
};
template <bool C, class T = void>
using enable_if_t = typename enable_if<C, T>::type;
template <bool C, class A, class B>
struct conditional {
  typedef A type;
};
template <class A, class B>
struct conditional<false, A, B> {
  typedef B type;
};
template <bool C, class A, class B>
using conditional_t = typename conditional<C, A, B>::type;

// A change of a type: as it is, and what becomes of the forms that change.
#define SIM_CHANGE(NAME)  \
  template <class T>      \
  struct NAME {           \
    typedef T type;       \
  };                      \
  template <class T>      \
  using NAME##_t = typename NAME<T>::type;
#define SIM_CHANGES(NAME, FROM, TO) \
  template <class T>                \
  struct NAME<FROM> {               \
    typedef TO type;                \
  };
SIM_CHANGE(remove_const)
SIM_CHANGES(remove_const, const T, T)
SIM_CHANGE(remove_volatile)
SIM_CHANGES(remove_volatile, volatile T, T)
SIM_CHANGE(remove_cv)
SIM_CHANGES(remove_cv, const T, T)
SIM_CHANGES(remove_cv, volatile T, T)
SIM_CHANGES(remove_cv, const volatile T, T)
SIM_CHANGE(remove_reference)
SIM_CHANGES(remove_reference, T &, T)
SIM_CHANGES(remove_reference, T &&, T)
SIM_CHANGE(remove_pointer)
SIM_CHANGES(remove_pointer, T *, T)
SIM_CHANGES(remove_pointer, T *const, T)
template <class T>
using remove_cvref_t = remove_cv_t<remove_reference_t<T>>;
template <class T>
struct remove_cvref {
  typedef remove_cvref_t<T> type;
};
template <class T>
struct sim_decay {
  typedef remove_cv_t<T> type;
};
template <class T>
struct sim_decay<T[]> {
  typedef T *type;
};
template <class T, size_t N>
struct sim_decay<T[N]> {
  typedef T *type;
};
template <class T>
using decay = sim_decay<remove_reference_t<T>>;
template <class T>
using decay_t = typename decay<T>::type;
template <class T>
T &&declval() noexcept;

#define SIM_IS(NAME, ...)                                 \
  template <class T>                                      \
  struct NAME : bool_constant<(__VA_ARGS__)> {};          \
  template <class T>                                      \
  inline constexpr bool NAME##_v = NAME<T>::value;
template <class A, class B>
struct is_same : false_type {};
template <class A>
struct is_same<A, A> : true_type {};
template <class A, class B>
inline constexpr bool is_same_v = is_same<A, B>::value;
template <class T, class... U>
inline constexpr bool sim_is_one_of = (is_same_v<remove_cv_t<T>, U> || ...);
SIM_IS(is_void, sim_is_one_of<T, void>)
SIM_IS(is_floating_point, sim_is_one_of<T, float, double>)
SIM_IS(is_integral,
       sim_is_one_of<T, bool, char, signed char, unsigned char, wchar_t, char16_t,
                     char32_t, short, unsigned short, int, unsigned, long,
                     unsigned long, long long, unsigned long long>)
SIM_IS(is_arithmetic, is_integral_v<T> || is_floating_point_v<T>)
template <class T, bool = is_arithmetic_v<T>>
struct sim_is_signed : bool_constant<(T(-1) < T(0))> {};
template <class T>
struct sim_is_signed<T, false> : false_type {};
SIM_IS(is_signed, sim_is_signed<remove_cv_t<T>>::value)
SIM_IS(is_unsigned, is_arithmetic_v<T> && !is_signed<T>::value)
SIM_IS(is_const, !is_same_v<T, remove_const_t<T>>)
SIM_IS(is_pointer, !is_same_v<T, remove_pointer_t<remove_cv_t<T>>> &&
                       !is_same_v<remove_cv_t<T>, remove_pointer_t<remove_cv_t<T>>>)
SIM_IS(is_reference, !is_same_v<T, remove_reference_t<T>>)
SIM_IS(is_enum, __is_enum(T))
SIM_IS(is_class, __is_class(T))
SIM_IS(is_pod, __is_pod(T))
SIM_IS(is_trivially_copyable, __is_trivially_copyable(T))
template <class B, class D>
struct is_base_of : bool_constant<__is_base_of(B, D)> {};
template <class B, class D>
inline constexpr bool is_base_of_v = is_base_of<B, D>::value;
template <class To>
void sim_takes(To);
template <class From, class To, class = void>
struct is_convertible : bool_constant<is_void_v<From> && is_void_v<To>> {};
template <class From, class To>
struct is_convertible<From, To, void_t<decltype(sim_takes<To>(declval<From>()))>>
    : true_type {};
template <class From, class To>
inline constexpr bool is_convertible_v = is_convertible<From, To>::value;

template <class T>
struct make_unsigned;
template <class T>
struct make_signed;
#define SIM_SIGNS(S, U) \
  template <> struct make_unsigned<S> { typedef U type; }; \
  template <> struct make_unsigned<U> { typedef U type; }; \
  template <> struct make_signed<S> { typedef S type; };   \
  template <> struct make_signed<U> { typedef S type; };
SIM_SIGNS(signed char, unsigned char)
SIM_SIGNS(short, unsigned short)
SIM_SIGNS(int, unsigned)
SIM_SIGNS(long, unsigned long)
SIM_SIGNS(long long, unsigned long long)
template <class T>
using make_unsigned_t = typename make_unsigned<T>::type;
template <class T>
using make_signed_t = typename make_signed<T>::type;

template <class T>
struct numeric_limits {
  static_assert(is_integral_v<T>, "numeric_limits of this type are not simulated");
  static constexpr bool is_specialized = is_integral_v<T>, is_integer = is_specialized;
  static constexpr bool is_signed = std::is_signed_v<T>, has_infinity = false;
  static constexpr int digits = int(sizeof(T)) * 8 - is_signed;
  SIM_INLINE static constexpr T max() {
    return T(~0ull >> (64 - (is_same_v<T, bool> ? 1 : digits)));
  }
  SIM_INLINE static constexpr T min() { return is_signed ? T(-max() - 1) : T(0); }
  SIM_INLINE static constexpr T lowest() { return min(); }
  SIM_INLINE static constexpr T epsilon() { return T(0); }
};
#define SIM_LIMITS(T, P, F, DIGITS)                                           \
  template <>                                                                 \
  struct numeric_limits<T> {                                                  \
    static constexpr bool is_specialized = true, is_integer = false;          \
    static constexpr bool is_signed = true, has_infinity = true;              \
    static constexpr int digits = DIGITS;                                     \
    SIM_INLINE static constexpr T max() { return P##MAX__; }                  \
    SIM_INLINE static constexpr T min() { return P##MIN__; }                  \
    SIM_INLINE static constexpr T lowest() { return -P##MAX__; }              \
    SIM_INLINE static constexpr T epsilon() { return P##EPSILON__; }          \
    SIM_INLINE static constexpr T infinity() { return __builtin_inf##F(); }   \
    SIM_INLINE static constexpr T quiet_NaN() { return __builtin_nan##F(""); } \
  };
SIM_LIMITS(float, __FLT_, f, 24)
SIM_LIMITS(double, __DBL_, , 53)
}  // namespace std

namespace cuda {
namespace std {
using namespace ::std;
}
}  // namespace cuda
