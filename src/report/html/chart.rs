//! A chart as the template draws it: axes, lines and marks in the units of the drawing.

/// Width of a chart, in units of the drawing: a text has 11 of them, and is readable where they are shown as pixels.
pub(super) const WIDTH: f64 = 360.0;

/// A chart. Its numbers are in units of the drawing, from the upper left.
pub(super) struct Chart {
    /// Heading, which also describes it to those who cannot see it.
    pub(super) title: String,
    pub(super) frame: Frame,
    pub(super) across: Vec<Tick>,
    pub(super) up: Vec<Tick>,
    /// Name of the axis below.
    pub(super) unit: &'static str,
    pub(super) lines: Vec<Line>,
    pub(super) marks: Vec<Mark>,
    pub(super) labels: Vec<Label>,
}

/// Place of the data in a chart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    pub(super) left: f64,
    pub(super) right: f64,
    pub(super) top: f64,
    pub(super) bottom: f64,
    /// Height of the whole chart.
    pub(super) height: f64,
}

/// Line of the grid with its label.
pub(super) struct Tick {
    pub(super) at: f64,
    pub(super) label: String,
}

/// A line through points; the class gives its colour and dashes.
pub(super) struct Line {
    pub(super) class: &'static str,
    /// Commands of an SVG path.
    pub(super) path: String,
}

/// A mark; the class gives its colour and shape.
pub(super) struct Mark {
    pub(super) class: &'static str,
    pub(super) x: f64,
    pub(super) y: f64,
}

/// A text in the chart.
pub(super) struct Label {
    pub(super) class: &'static str,
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) text: String,
}

/// Maps values to places.
#[derive(Debug, Clone, Copy)]
pub(super) struct Axis {
    from: f64,
    to: f64,
    begin: f64,
    end: f64,
    is_logarithmic: bool,
}

impl Frame {
    /// Makes a frame of this height, with room for labels on the left.
    pub(super) const fn new(left: f64, height: f64) -> Self {
        Self { left, right: WIDTH - 20.0, top: 8.0, bottom: height - 36.0, height }
    }

    /// Returns the axis from left to right.
    pub(super) const fn across(self, from: f64, to: f64) -> Axis {
        Axis { from, to, begin: self.left, end: self.right, is_logarithmic: false }
    }

    /// Returns the axis from left to right in which equal steps are equal factors.
    pub(super) const fn across_by_factors(self, from: f64, to: f64) -> Axis {
        Axis { from, to, begin: self.left, end: self.right, is_logarithmic: true }
    }

    /// Returns the axis from below upwards.
    pub(super) const fn up(self, from: f64, to: f64) -> Axis {
        Axis { from, to, begin: self.bottom, end: self.top, is_logarithmic: false }
    }
}

impl Axis {
    /// Returns the place of a value; one outside of the axis is at its end.
    pub(super) fn place(&self, value: f64) -> f64 {
        let share = if self.is_logarithmic {
            (value / self.from).ln() / (self.to / self.from).ln()
        } else {
            (value - self.from) / (self.to - self.from)
        };
        let share = if share.is_nan() { 0.0 } else { share.clamp(0.0, 1.0) };
        self.begin + share * (self.end - self.begin)
    }

    /// Returns the grid line of a value.
    pub(super) fn tick(&self, value: f64, label: impl Into<String>) -> Tick {
        Tick { at: self.place(value), label: label.into() }
    }
}

impl Chart {
    /// Makes a chart without data.
    pub(super) fn new(title: impl Into<String>, frame: Frame, unit: &'static str) -> Self {
        Self {
            title: title.into(),
            frame,
            across: Vec::new(),
            up: Vec::new(),
            unit,
            lines: Vec::new(),
            marks: Vec::new(),
            labels: Vec::new(),
        }
    }

    /// Draws a line through places.
    pub(super) fn line(&mut self, class: &'static str, places: impl IntoIterator<Item = (f64, f64)>) {
        let mut path = String::new();
        for (x, y) in places {
            let command = if path.is_empty() { 'M' } else { 'L' };
            path.push_str(&format!("{command}{x:.1} {y:.1}"));
        }
        self.lines.push(Line { class, path });
    }
}

/// Number of steps on an axis of factors, up to which each has room for its label.
const LABELLED: usize = 6;

/// Returns the steps 1, 2, 5, 10 … that enclose both values, which are above 0: at least two.
pub(super) fn steps(from: f64, to: f64) -> Vec<f64> {
    let step = |number: i32| {
        let digit = [1.0, 2.0, 5.0].get(usize::try_from(number.rem_euclid(3)).unwrap_or(0)).copied().unwrap_or(1.0);
        digit * 10_f64.powi(number.div_euclid(3))
    };
    #[expect(clippy::cast_possible_truncation, reason = "the logarithm of a finite number is below 309")]
    let guess = |value: f64| (value.log10() * 3.0).floor() as i32;
    let mut first = guess(from) + 1;
    while step(first) > from {
        first -= 1;
    }
    let mut last = guess(to).max(first + 1);
    while step(last) < to {
        last += 1;
    }
    (first..=last).map(step).collect()
}

/// True if a step has a label: on a wide axis the powers of ten alone, so that labels do not meet.
pub(super) fn is_labelled(step: f64, steps: &[f64]) -> bool {
    steps.len() <= LABELLED || (step.log10() - step.log10().round()).abs() < 1e-9
}

/// Returns a round number that is not below this one: 1, 2 or 5 times a power of ten.
pub(super) fn round_up(value: f64) -> f64 {
    steps(value, value).into_iter().find(|step| *step >= value).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn steps_enclose() {
        assert_eq!(steps(130.0, 900.0), [100.0, 200.0, 500.0, 1000.0]);
        assert_eq!(steps(100.0, 100.0), [100.0, 200.0]);
        let wide = steps(0.3, 40.0);
        assert_eq!(wide, [0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0]);
        let labelled: Vec<f64> = wide.iter().copied().filter(|step| is_labelled(*step, &wide)).collect();
        assert_eq!(labelled, [1.0, 10.0]);
        assert_eq!(round_up(0.37), 0.5);
        assert_eq!(round_up(2000.0), 2000.0);
    }

    proptest! {
        #[test]
        fn steps_enclose_whatever_comes(from in 1e-3_f64..1e12, factor in 1.0_f64..1e6) {
            let found = steps(from, from * factor);
            prop_assert!(found.len() >= 2 && found[0] <= from && found[found.len() - 1] >= from * factor * 0.999_999);
            prop_assert!(found.len() <= 21);
            prop_assert!(found.iter().filter(|step| is_labelled(**step, &found)).count() >= 2);
        }

        #[test]
        fn places_stay_in_the_frame(value in any::<f64>()) {
            let place = Frame::new(40.0, 200.0).across_by_factors(1.0, 100.0).place(value);
            prop_assert!((40.0..=340.0).contains(&place));
        }
    }
}
