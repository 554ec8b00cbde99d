//! Receives points over time · hands out how steeply they rise · owns nothing.

/// The slope of the line that fits best (least squares), per unit of time; 0 for fewer than two points.
pub(crate) fn slope(points: impl Iterator<Item = (f64, f64)> + Clone) -> f64 {
    let (mut count, mut times, mut values) = (0.0, 0.0, 0.0);
    for (time, value) in points.clone() {
        count += 1.0;
        times += time;
        values += value;
    }
    let (time, value) = (times / count, values / count);
    let (mut products, mut squares) = (0.0, 0.0);
    for (x, y) in points {
        products += (x - time) * (y - value);
        squares += (x - time) * (x - time);
    }
    if squares > 0.0 { products / squares } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_its_slope_and_noise_has_none() {
        let line = (0..10).map(|x| (f64::from(x), 3.0 + 2.0 * f64::from(x)));
        assert!((slope(line) - 2.0).abs() < 1e-9);
        let noise = (0..1_000).map(|x| (f64::from(x), f64::from(x % 2)));
        assert!(slope(noise).abs() < 1e-4);
        assert!(slope([(1.0, 5.0)].into_iter()).abs() < 1e-9);
        assert!(slope([].into_iter()).abs() < 1e-9);
    }
}
