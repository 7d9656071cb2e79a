//! Values over the whole range, and where functions end.

use super::*;

const CELU: Pointwise = Pointwise::Exponential { alpha: 2.0, width: 2.0, gamma: 1.0 };

fn applied(function: Pointwise, x: f32) -> f32 {
    let mut tensor = Tensor::from_shape(&[1], &[x]).expect("agrees");
    function.eval_in_place(&mut tensor, None).expect("a float");
    tensor.try_as_plain_ram().expect("plain").as_slice::<f32>().expect("f32")[0]
}

#[test]
fn all_digits_are_right_over_the_whole_range() {
    type Exact = fn(f64) -> f64;
    let functions: [(Pointwise, Exact); 12] = [
        (Pointwise::Softplus, |x| x.max(0.0) + (-x.abs()).exp().ln_1p()),
        (Pointwise::Mish, |x| x * (x.max(0.0) + (-x.abs()).exp().ln_1p()).tanh()),
        (Pointwise::Sigmoid, |x| 1.0 / (1.0 + (-x).exp())),
        (Pointwise::Tanh, f64::tanh),
        (CELU, |x| x.max(0.0) + (2.0 * (x / 2.0).exp_m1()).min(0.0)),
        (Pointwise::elu(0.5), |x| if x < 0.0 { 0.5 * x.exp_m1() } else { x }),
        (Pointwise::Swish { alpha: 1.0 }, |x| x / (1.0 + (-x).exp())),
        (Pointwise::HardSwish, |x| x * (x / 6.0 + 0.5).clamp(0.0, 1.0)),
        (Pointwise::Erf, functions::error),
        (Pointwise::Asinh, f64::asinh),
        (Pointwise::Root, f64::sqrt),
        (Pointwise::HardSigmoid { alpha: 0.25, beta: 0.5 }, |x| (0.25 * x + 0.5).clamp(0.0, 1.0)),
    ];
    for (function, exact) in functions {
        for step in -8600..8600 {
            let x = step as f32 / 100.0;
            let expected = exact(f64::from(x));
            let difference = (f64::from(applied(function, x)) - expected).abs();
            let near = difference <= 5e-7 * expected.abs() || expected.is_nan();
            assert!(near, "{function:?} of {x}: {difference:e}");
        }
    }
    for (x, expected) in
        [(-100.0, 0.0), (-10.0, 0.0), (-3.0, -0.003_637_392), (0.5, 0.345_714), (89.0, 89.0)]
    {
        let found = f64::from(applied(Pointwise::GeluTanh, x as f32));
        let difference = (found - expected).abs();
        assert!(difference <= 1e-6 * expected.abs() + 1e-30, "Gelu of {x}: {found}");
    }
    let mut many: Vec<f32> = (-20..21).map(|x| x as f32).collect();
    let alone: Vec<f32> = many.iter().map(|x| applied(Pointwise::Tanh, *x)).collect();
    Pointwise::Tanh.singles(&mut many);
    assert_eq!(many, alone, "lanes and what is left of them agree");
}

#[test]
fn nan_stays_and_infinities_end_at_the_limits() {
    let infinity = f32::INFINITY;
    let clip = Pointwise::clip_to(0.0, 6.0);
    let limits = [
        (Pointwise::Sigmoid, 0.0, 1.0),
        (Pointwise::Tanh, -1.0, 1.0),
        (clip, 0.0, 6.0),
        (Pointwise::HardSigmoid { alpha: 0.2, beta: 0.5 }, 0.0, 1.0),
        (CELU, -2.0, infinity),
        (Pointwise::Erf, -1.0, 1.0),
        (Pointwise::Asinh, -infinity, infinity),
        (Pointwise::Root, infinity, infinity),
        (Pointwise::Softplus, 0.0, infinity),
    ];
    for (function, least, most) in limits {
        assert!(applied(function, f32::NAN).is_nan(), "{function:?}");
        let found = (applied(function, -infinity), applied(function, infinity));
        assert_eq!(found, (least, most), "{function:?}");
        let doubles = [f64::NAN, f64::NEG_INFINITY].map(|x| function.double(x));
        assert!(doubles[0].is_nan() && doubles[1] == f64::from(least), "{function:?}");
    }
    let swish = Pointwise::Swish { alpha: 1.702 };
    for product in [Pointwise::Mish, Pointwise::Gelu, Pointwise::GeluTanh, swish] {
        assert!(applied(product, -infinity).is_nan(), "{product:?}: infinity times zero");
        assert_eq!(applied(product, infinity), infinity, "{product:?}");
    }
    let crossed = Pointwise::clip_to(3.0, 1.0);
    assert_eq!([0.0, 2.0, 4.0].map(|x| applied(crossed, x)), [1.0; 3]);
}

#[test]
fn the_gelu_keeps_its_digits_below_zero() {
    // Half of x times the complement, by the table of Abramowitz and Stegun and beyond it by the continued fraction.
    for (x, expected) in [(-1.0, -0.158_655_25), (-3.0, -4.049_694e-3), (-5.0, -1.433_257_9e-6)] {
        for found in [f64::from(applied(Pointwise::Gelu, x as f32)), Pointwise::Gelu.double(x)] {
            assert!((found - expected).abs() <= 3e-6 * expected.abs(), "Gelu of {x}: {found:e}");
        }
    }
    assert!((Pointwise::Erf.double(0.5) - 0.520_499_877_813_046_5).abs() < 1e-15);
    assert!((Pointwise::Erf.double(-2.5) + 0.999_593_047_982_555).abs() < 1e-15);
}

#[test]
fn a_clip_without_bounds_ends_where_the_type_does() {
    let clip = Pointwise::Clip { low: Bound::OfType, high: Bound::At(6.0) };
    assert_eq!(applied(clip, f32::NEG_INFINITY), f32::MIN);
    assert_eq!(clip.double(f64::NEG_INFINITY), f64::MIN);
    assert_eq!(applied(clip, 7.0), 6.0);
}

#[test]
fn huge_numbers_do_not_overflow_on_the_way() {
    for (function, expected) in
        [(Pointwise::Asinh, 89.289_99), (Pointwise::Acosh, 89.289_99), (Pointwise::HardSwish, 3e38)]
    {
        let found = applied(function, 3e38);
        assert!((found / expected - 1.0).abs() < 1e-6, "{function:?}: {found}");
    }
}
