//! Charts as SVG.

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::coord::ranged1d::{AsRangedCoord, Ranged, ValueFormatter};
use plotters::prelude::*;

use super::history::{Curve, Curves};

const SIZE: (u32, u32) = (760, 440);

/// Width of the column right of the axes that the colours are explained in.
const LEGEND: u32 = 124;

const FONT: &str = "sans-serif";
const INK: RGBColor = RGBColor(60, 60, 60);
const GRID: RGBColor = RGBColor(228, 228, 228);
const TRAIN: RGBColor = RGBColor(31, 101, 158);
const VALID: RGBColor = RGBColor(214, 96, 26);
const TEST: RGBColor = RGBColor(20, 20, 20);

/// Losses whose largest is so many times the smallest are shown on a logarithmic axis.
const DECADES: f64 = 20.0;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Loss over training; `None` where nothing is known.
pub(super) fn loss(curves: &Curves) -> Result<Option<String>> {
    let curve = &curves.loss;
    let Some((low, high)) = range(curve) else { return Ok(None) };
    picture(|area| {
        let frame = Frame { end: end(curve), y: "loss (nats)", percent: false };
        if low > 0.0 && high / low > DECADES {
            return lines(area, &frame, (low / 1.2..high * 1.2).log_scale(), curve);
        }
        let margin = (0.05 * (high - low)).max(1e-3 * high.abs()).max(1e-9);
        let bottom = if low >= 0.0 && low < 0.5 * high { 0.0 } else { low - margin };
        lines(area, &frame, bottom..high + margin, curve)
    })
}

/// Accuracy over training; `None` for regression.
pub(super) fn accuracy(curves: &Curves) -> Result<Option<String>> {
    let curve = &curves.accuracy;
    let Some((low, high)) = range(curve) else { return Ok(None) };
    picture(|area| {
        let frame = Frame { end: end(curve), y: "accuracy", percent: true };
        let margin = 0.05 * (high - low).max(0.02);
        let bottom = if low < 0.5 { 0.0 } else { low - margin };
        lines(area, &frame, bottom..(high + margin).min(1.0), curve)
    })
}

/// The classifiers' weights over training, stacked from the smallest learning rate to the largest.
pub(super) fn posterior(curves: &Curves, rates: &[f64]) -> Result<Option<String>> {
    let points = &curves.posterior;
    let Some((end, _)) = points.last().filter(|(end, _)| *end > 0.0) else { return Ok(None) };
    picture(|area| {
        let (axes, legend) = area.split_horizontally(SIZE.0 - LEGEND);
        let mut chart = ChartBuilder::on(&axes);
        sides(&mut chart);
        let mut chart = chart.build_cartesian_2d(0.0..*end, 0.0..1.0).map_err(drawing)?;
        // From the largest sum to the smallest, each over the one before: no seam shows between neighbours.
        for j in (0..rates.len()).rev() {
            let sum = |weights: &[f64]| weights.iter().take(j + 1).sum::<f64>().min(1.0);
            let top = points.iter().map(|(x, weights)| (*x, sum(weights)));
            let outline: Vec<(f64, f64)> =
                [(0.0, 0.0)].into_iter().chain(top).chain([(*end, 0.0)]).collect();
            let area = Polygon::new(outline, shade(j, rates.len()).filled());
            chart.draw_series([area]).map_err(drawing)?;
        }
        axes_of(&mut chart, &Frame { end: *end, y: "posterior", percent: false }, false)?;
        let entries: Vec<_> = rates.iter().enumerate().rev().collect();
        let entries =
            entries.into_iter().map(|(j, rate)| (number(*rate), Mark::Box(shade(j, rates.len()))));
        explain(&legend, "learning rate", &entries.collect::<Vec<_>>())
    })
}

/// What the axes are.
struct Frame {
    /// Epochs, the end of the x axis.
    end: f64,
    y: &'static str,
    percent: bool,
}

fn picture(draw: impl FnOnce(&Area) -> Result<()>) -> Result<Option<String>> {
    let mut svg = String::new();
    let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
    area.fill(&WHITE).map_err(drawing)?;
    draw(&area)?;
    area.present().map_err(drawing)?;
    drop(area);
    Ok(Some(svg))
}

fn drawing(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("a picture could not be drawn: {error}")
}

fn lines<Y>(area: &Area, frame: &Frame, y: Y, curve: &Curve) -> Result<()>
where
    Y: AsRangedCoord<Value = f64>,
    Y::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let (axes, legend) = area.split_horizontally(SIZE.0 - LEGEND);
    let mut chart = ChartBuilder::on(&axes);
    sides(&mut chart);
    let mut chart = chart.build_cartesian_2d(0.0..frame.end, y).map_err(drawing)?;
    axes_of(&mut chart, frame, true)?;
    let mut entries = Vec::new();
    if !curve.steps.is_empty() {
        let style = TRAIN.mix(0.35).stroke_width(1);
        chart.draw_series(LineSeries::new(curve.steps.iter().copied(), style)).map_err(drawing)?;
        entries.push(("train, steps".to_owned(), Mark::Line(style)));
    }
    for (name, points, colour) in
        [("train, epochs", &curve.train, TRAIN), ("validation", &curve.valid, VALID)]
    {
        if points.is_empty() {
            continue;
        }
        let style = colour.stroke_width(2);
        chart.draw_series(LineSeries::new(points.iter().copied(), style)).map_err(drawing)?;
        let dots = points.iter().map(|point| Circle::new(*point, 3, colour.filled()));
        chart.draw_series(dots).map_err(drawing)?;
        entries.push((name.to_owned(), Mark::Line(style)));
    }
    if let Some(point) = curve.test {
        chart.draw_series([Cross::new(point, 5, TEST.stroke_width(2))]).map_err(drawing)?;
        entries.push(("test".to_owned(), Mark::Cross));
    }
    explain(&legend, "", &entries)
}

fn sides(chart: &mut ChartBuilder<SVGBackend>) {
    chart.margin_top(18).margin_bottom(10).margin_left(10).margin_right(12);
    chart.set_label_area_size(LabelAreaPosition::Left, 64);
    chart.set_label_area_size(LabelAreaPosition::Bottom, 46);
}

fn axes_of<'a, Y>(
    chart: &mut ChartContext<
        'a,
        SVGBackend<'a>,
        Cartesian2d<plotters::coord::types::RangedCoordf64, Y>,
    >,
    frame: &Frame,
    has_grid: bool,
) -> Result<()>
where
    Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let x = |x: &f64| number(*x);
    let y = |y: &f64| if frame.percent { format!("{}%", number(100.0 * y)) } else { number(*y) };
    let mut mesh = chart.configure_mesh();
    if !has_grid {
        mesh.disable_mesh();
    }
    mesh.light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(INK.stroke_width(1))
        .label_style((FONT, 14).into_font().color(&INK))
        .axis_desc_style((FONT, 15).into_font().color(&INK))
        .x_desc("epoch")
        .y_desc(frame.y)
        .x_labels(8)
        .y_labels(8)
        .x_label_formatter(&x)
        .y_label_formatter(&y)
        .draw()
        .map_err(drawing)
}

/// How an entry of the legend looks.
enum Mark {
    Line(ShapeStyle),
    Box(RGBColor),
    Cross,
}

fn explain(area: &Area, title: &str, entries: &[(String, Mark)]) -> Result<()> {
    let style = (FONT, 14).into_font().color(&INK);
    let row = 20.min((SIZE.1 as i32 - 90) / entries.len().max(1) as i32);
    let mut y = 26;
    if !title.is_empty() {
        area.draw_text(title, &style, (0, y - 8)).map_err(drawing)?;
        y += 22;
    }
    for (text, mark) in entries {
        match mark {
            Mark::Line(style) => area.draw(&PathElement::new([(0, y), (18, y)], *style)),
            Mark::Box(colour) => {
                area.draw(&Rectangle::new([(2, y - row / 2), (18, y + row / 2)], colour.filled()))
            }
            Mark::Cross => area.draw(&Cross::new((9, y), 5, TEST.stroke_width(2))),
        }
        .map_err(drawing)?;
        area.draw_text(text, &style, (24, y - 7)).map_err(drawing)?;
        y += row;
    }
    Ok(())
}

/// The least and the largest value of a curve.
fn range(curve: &Curve) -> Option<(f64, f64)> {
    let points = curve.steps.iter().chain(&curve.train).chain(&curve.valid).chain(&curve.test);
    let values = points.map(|(_, y)| *y).filter(|y| y.is_finite());
    values.fold(None, |range, y| {
        let (low, high) = range.unwrap_or((y, y));
        Some((y.min(low), y.max(high)))
    })
}

/// The last epoch that a curve reaches, at least a hundredth.
fn end(curve: &Curve) -> f64 {
    let points = curve.steps.iter().chain(&curve.train).chain(&curve.valid).chain(&curve.test);
    points.map(|(x, _)| *x).fold(0.01, f64::max)
}

/// A number with three digits, as short as it goes.
fn number(number: f64) -> String {
    if number == 0.0 {
        return "0".into();
    }
    let magnitude = number.abs().log10().floor();
    if (-2.0..5.0).contains(&magnitude) {
        let digits = (2.0 - magnitude).max(0.0) as usize;
        let text = format!("{number:.digits$}");
        return if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.').into()
        } else {
            text
        };
    }
    let text = format!("{number:.1e}");
    text.replace(".0e", "e")
}

/// A colour of viridis, which gets lighter from the first to the last, also in grey and for the colour-blind.
fn shade(place: usize, count: usize) -> RGBColor {
    const VIRIDIS: [(u8, u8, u8); 9] = [
        (68, 1, 84),
        (71, 44, 122),
        (59, 81, 139),
        (44, 113, 142),
        (33, 144, 141),
        (39, 173, 129),
        (92, 200, 99),
        (170, 220, 50),
        (253, 231, 37),
    ];
    let position =
        place as f64 / count.saturating_sub(1).max(1) as f64 * (VIRIDIS.len() - 1) as f64;
    let below = (position as usize).min(VIRIDIS.len() - 2);
    let part = position - below as f64;
    let mix = |a: u8, b: u8| (f64::from(a) + part * (f64::from(b) - f64::from(a))).round() as u8;
    let ((r, g, b), (r1, g1, b1)) = (VIRIDIS[below], VIRIDIS[below + 1]);
    RGBColor(mix(r, r1), mix(g, g1), mix(b, b1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let cases = [
            (0.0, "0"),
            (1e-5, "1e-5"),
            (4.6416e-5, "4.6e-5"),
            (0.01, "0.01"),
            (4.6416e-3, "4.6e-3"),
            (10.0, "10"),
            (2.154, "2.15"),
        ];
        cases.iter().for_each(|(value, text)| assert_eq!(number(*value), *text));
        assert_eq!([100.0, 1234.5, 1e6].map(number), ["100", "1234", "1e6"]);
    }

    #[test]
    fn the_palette_has_one_colour_a_classifier() {
        assert_eq!(shade(0, 10), RGBColor(68, 1, 84));
        assert_eq!(shade(9, 10), RGBColor(253, 231, 37));
        assert_eq!(shade(0, 1), RGBColor(68, 1, 84));
    }

    #[test]
    fn nothing_is_drawn_of_nothing() {
        let nothing = || Curve { steps: vec![], train: vec![], valid: vec![], test: None };
        let curves = Curves { loss: nothing(), accuracy: nothing(), posterior: vec![] };
        assert!(loss(&curves).unwrap().is_none() && accuracy(&curves).unwrap().is_none());
        assert!(posterior(&curves, &[0.1]).unwrap().is_none());
    }
}
