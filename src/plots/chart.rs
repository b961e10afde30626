//! Lines, stacks and points on axes, as SVG.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::colours::{GRID, INK};
use super::scale::Scale;

const SIZE: (u32, u32) = (760, 440);

/// The least width of the legend, right of the axes.
const LEGEND: usize = 124;

/// The approximate width of a letter in the legend.
const LETTER: usize = 8;

const FONT: &str = "sans-serif";

/// Drawing cannot fail: the picture is a string in memory.
const DRAWN: &str = "a picture in memory can be drawn";

pub(super) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

type Chart<'a> = ChartContext<'a, SVGBackend<'a>, Cartesian2d<Scale, Scale>>;

/// An axis with its label.
pub struct Axis {
    /// The quantity and its unit.
    pub label: String,
    /// Its range.
    pub scale: Scale,
}

impl Axis {
    /// An axis.
    pub fn new(label: impl Into<String>, scale: Scale) -> Self {
        Axis { label: label.into(), scale }
    }
}

/// The style of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stroke {
    /// A line of this width in pixels.
    Line(u32),
    /// A line with a dot at each point.
    Dotted(u32),
    /// A line of short dashes.
    Dashed(u32),
    /// A cross at each point.
    Crosses,
}

/// Points that belong together.
pub struct Series {
    /// The name in the legend; a series with an empty name is not in the legend.
    pub name: String,
    /// Coordinates. A point that is not finite, or beyond the axes, is left out.
    pub points: Vec<(f64, f64)>,
    /// The length of each point's error bar, up and down; empty for no error bars.
    pub deviations: Vec<f64>,
    /// Whether the deviations are drawn as a band around the line, in place of bars.
    pub is_band: bool,
    /// Its colour.
    pub colour: RGBAColor,
    /// Its style.
    pub stroke: Stroke,
}

impl Series {
    /// Points without deviations.
    pub fn new(
        name: impl Into<String>,
        points: Vec<(f64, f64)>,
        colour: impl Color,
        stroke: Stroke,
    ) -> Self {
        let colour = colour.to_rgba();
        Series { name: name.into(), points, deviations: Vec::new(), is_band: false, colour, stroke }
    }

    /// Adds error bars.
    pub fn with_deviations(mut self, deviations: Vec<f64>) -> Self {
        self.deviations = deviations;
        self
    }

    /// Draws the deviations as a band.
    pub fn as_band(mut self) -> Self {
        self.is_band = true;
        self
    }
}

/// Series over two axes. `title` is the legend's heading.
pub fn lines(x: &Axis, y: &Axis, title: &str, series: &[Series]) -> String {
    let named: Vec<&Series> = series.iter().filter(|own| !own.name.is_empty()).collect();
    let names = named.iter().map(|own| own.name.as_str());
    let legend_width = legend_width(names.chain([title]));
    picture(|area| {
        let (axes, legend) = area.split_horizontally(SIZE.0 - legend_width);
        let mut chart = chart(&axes, x, y);
        mesh(&mut chart, x, y, true);
        // Lines lie over all bands.
        series.iter().filter(|own| own.is_band).for_each(|own| draw_band(&mut chart, own, y));
        series.iter().for_each(|own| draw(&mut chart, own, y));
        let entries: Vec<_> = named.iter().map(|own| (own.name.clone(), Mark::of(own))).collect();
        explain(&legend, title, &entries);
    })
}

/// Stacked fractions over `x`, the first at the bottom: each point is `x` with its fractions, which add up to 1.
pub fn stack(
    x: &Axis,
    y_label: &str,
    title: &str,
    points: &[(f64, Vec<f64>)],
    entries: &[(String, RGBColor)],
) -> String {
    let y = Axis::new(y_label, Scale::linear(0.0..1.0));
    let legend_width = legend_width(entries.iter().map(|(name, _)| name.as_str()).chain([title]));
    let end = points.last().map_or(0.0, |(end, _)| *end);
    let start = points.first().map_or(0.0, |(start, _)| *start);
    picture(|area| {
        let (axes, legend) = area.split_horizontally(SIZE.0 - legend_width);
        let mut chart = chart(&axes, x, &y);
        // Each area is drawn over the larger one before it, with a thin white line between them: neighbouring shades are alike.
        for (j, (_, colour)) in entries.iter().enumerate().rev() {
            let sum = |parts: &[f64]| parts.iter().take(j + 1).sum::<f64>().min(1.0);
            let top: Vec<(f64, f64)> = points.iter().map(|(x, parts)| (*x, sum(parts))).collect();
            let outline: Vec<(f64, f64)> =
                [(start, 0.0)].into_iter().chain(top.iter().copied()).chain([(end, 0.0)]).collect();
            chart.draw_series([Polygon::new(outline, colour.filled())]).expect(DRAWN);
            chart.draw_series([PathElement::new(top, WHITE.stroke_width(1))]).expect(DRAWN);
        }
        mesh(&mut chart, x, &y, false);
        let marks = entries.iter().rev().map(|(name, colour)| (name.clone(), Mark::Box(*colour)));
        explain(&legend, title, &marks.collect::<Vec<_>>());
    })
}

/// The picture with a line of text above its axes.
pub(super) fn with_heading(svg: &str, text: &str) -> String {
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;");
    let RGBColor(red, green, blue) = INK;
    let place = format!(
        "x=\"76\" y=\"13\" font-family=\"{FONT}\" font-size=\"13\" fill=\"#{red:02X}{green:02X}{blue:02X}\""
    );
    let end = svg.rfind("</svg>").unwrap_or(svg.len());
    format!("{}<text {place}>\n{escaped}\n</text>\n{}", &svg[..end], &svg[end..])
}

/// A picture of the usual size on a white background.
pub(super) fn picture(draw: impl FnOnce(&Area)) -> String {
    picture_of(SIZE, draw)
}

/// A picture of this width and height on a white background.
pub(super) fn picture_of(size: (u32, u32), draw: impl FnOnce(&Area)) -> String {
    let mut svg = String::new();
    let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
    area.fill(&WHITE).expect(DRAWN);
    draw(&area);
    area.present().expect(DRAWN);
    drop(area);
    svg
}

fn chart<'a>(area: &Area<'a>, x: &Axis, y: &Axis) -> Chart<'a> {
    let mut chart = ChartBuilder::on(area);
    chart.margin_top(18).margin_bottom(10).margin_left(10).margin_right(12);
    chart.set_label_area_size(LabelAreaPosition::Left, 64);
    chart.set_label_area_size(LabelAreaPosition::Bottom, 46);
    chart.build_cartesian_2d(x.scale.clone(), y.scale.clone()).expect(DRAWN)
}

fn mesh(chart: &mut Chart, x: &Axis, y: &Axis, has_grid: bool) {
    let mut mesh = chart.configure_mesh();
    if !has_grid {
        mesh.disable_mesh();
    }
    mesh.light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(INK.stroke_width(1))
        .label_style((FONT, 14).into_font().color(&INK))
        .axis_desc_style((FONT, 15).into_font().color(&INK))
        .x_desc(&x.label)
        .y_desc(&y.label)
        .x_labels(8)
        .y_labels(8)
        .draw()
        .expect(DRAWN);
}

/// A deviation on each side of the line, as far as it is finite and on the axis.
fn draw_band(chart: &mut Chart, series: &Series, y: &Axis) {
    let known = series.points.iter().zip(&series.deviations);
    let known = known.take_while(|((_, value), deviation)| (value + **deviation).is_finite());
    let end = |value: f64| y.scale.value_at(y.scale.place(value).clamp(0.0, 1.0));
    let (mut upper, mut lower) = (Vec::new(), Vec::new());
    for ((x, value), deviation) in known {
        upper.push((*x, end(value + deviation)));
        lower.push((*x, end(value - deviation)));
    }
    if upper.len() > 1 {
        upper.extend(lower.into_iter().rev());
        let colour = series.colour.mix(0.15).filled();
        chart.draw_series([Polygon::new(upper, colour)]).expect(DRAWN);
    }
}

fn draw(chart: &mut Chart, series: &Series, y: &Axis) {
    let colour = series.colour;
    if let Stroke::Line(width) | Stroke::Dotted(width) | Stroke::Dashed(width) = series.stroke {
        let style = colour.stroke_width(width);
        for piece in inside(&series.points, &y.scale) {
            if let Stroke::Dashed(_) = series.stroke {
                chart.draw_series(DashedLineSeries::new(piece, 5, 4, style)).expect(DRAWN);
            } else {
                chart.draw_series([PathElement::new(piece, style)]).expect(DRAWN);
            }
        }
    }
    let is_inside = |y_value: f64| (0.0..=1.0).contains(&y.scale.place(y_value));
    let bars = if series.is_band { &[][..] } else { &series.deviations };
    for ((x, value), deviation) in series.points.iter().zip(bars) {
        let end = |value: f64| y.scale.value_at(y.scale.place(value).clamp(0.0, 1.0));
        if *deviation > 0.0 && is_inside(*value) {
            let ends = vec![(*x, end(value - deviation)), (*x, end(value + deviation))];
            chart.draw_series([PathElement::new(ends, colour.stroke_width(1))]).expect(DRAWN);
        }
    }
    let shown = series.points.iter().copied().filter(|(_, value)| is_inside(*value));
    match series.stroke {
        Stroke::Dotted(_) => {
            chart.draw_series(shown.map(|point| Circle::new(point, 3, colour.filled())))
        }
        Stroke::Crosses => {
            chart.draw_series(shown.map(|point| Cross::new(point, 5, colour.stroke_width(2))))
        }
        Stroke::Line(_) | Stroke::Dashed(_) => return,
    }
    .expect(DRAWN);
}

/// The pieces of a line between the ends of an axis; a value that is not finite leaves a gap.
fn inside(points: &[(f64, f64)], y: &Scale) -> Vec<Vec<(f64, f64)>> {
    let mut pieces: Vec<Vec<(f64, f64)>> = vec![Vec::new()];
    for pair in points.windows(2) {
        let [(x0, y0), (x1, y1)] = [pair[0], pair[1]];
        let (start, end) = (y.place(y0), y.place(y1));
        let crossing = |edge: f64| ((edge - start) / (end - start)).clamp(0.0, 1.0);
        let [a, b] = [crossing(0.0), crossing(1.0)];
        let is_outside = start.max(end) < 0.0 || start.min(end) > 1.0;
        if !(start + end).is_finite() || is_outside {
            pieces.push(Vec::new());
            continue;
        }
        let (from, to) = if start == end { (0.0, 1.0) } else { (a.min(b), a.max(b)) };
        let at = |part: f64| (x0 + part * (x1 - x0), y.value_at(start + part * (end - start)));
        let piece = pieces.last_mut().expect("there is one from the start");
        if piece.is_empty() || from > 0.0 {
            pieces.push(vec![if from == 0.0 { (x0, y0) } else { at(from) }]);
        }
        let piece = pieces.last_mut().expect("one was just added, or there was one");
        piece.push(if to == 1.0 { (x1, y1) } else { at(to) });
        if to < 1.0 {
            pieces.push(Vec::new());
        }
    }
    pieces.retain(|piece| piece.len() > 1);
    pieces
}

/// The mark of an entry in the legend.
enum Mark {
    Line(ShapeStyle),
    Dashes(ShapeStyle),
    Box(RGBColor),
    Cross(ShapeStyle),
}

impl Mark {
    fn of(series: &Series) -> Mark {
        let colour = series.colour;
        match series.stroke {
            Stroke::Line(width) | Stroke::Dotted(width) => Mark::Line(colour.stroke_width(width)),
            Stroke::Dashed(width) => Mark::Dashes(colour.stroke_width(width)),
            Stroke::Crosses => Mark::Cross(colour.stroke_width(2)),
        }
    }
}

fn legend_width<'a>(texts: impl Iterator<Item = &'a str>) -> u32 {
    let letters = texts.map(|text| text.chars().count()).max().unwrap_or(0);
    (32 + LETTER * letters).max(LEGEND) as u32
}

fn explain(area: &Area, title: &str, entries: &[(String, Mark)]) {
    let style = (FONT, 14).into_font().color(&INK);
    let row = 20.min((SIZE.1 as i32 - 90) / entries.len().max(1) as i32);
    let mut y = 26;
    if !title.is_empty() {
        area.draw_text(title, &style, (0, y - 8)).expect(DRAWN);
        y += 22;
    }
    for (text, mark) in entries {
        match mark {
            Mark::Line(style) => area.draw(&PathElement::new([(0, y), (18, y)], *style)),
            Mark::Dashes(style) => area
                .draw(&PathElement::new([(0, y), (7, y)], *style))
                .and_then(|()| area.draw(&PathElement::new([(11, y), (18, y)], *style))),
            Mark::Box(colour) => {
                area.draw(&Rectangle::new([(2, y - row / 2), (18, y + row / 2)], colour.filled()))
            }
            Mark::Cross(style) => area.draw(&Cross::new((9, y), 5, *style)),
        }
        .expect(DRAWN);
        area.draw_text(text, &style, (24, y - 7)).expect(DRAWN);
        y += row;
    }
}

/// Draws a text centred at a position.
pub(super) fn text_at(area: &Area, text: &str, place: (i32, i32), size: u32, colour: RGBColor) {
    let style = (FONT, size).into_font().color(&colour);
    let style = style.pos(Pos::new(HPos::Center, VPos::Center));
    area.draw_text(text, &style, place).expect(DRAWN);
}

/// Draws a text; `place` is the position of its left end, its middle or its right end, by `end`. A turned text runs downwards.
pub(super) fn text_from(
    area: &Area,
    text: &str,
    place: (i32, i32),
    (size, is_turned): (u32, bool),
    end: HPos,
) {
    let font = (FONT, size).into_font();
    let font = if is_turned { font.transform(FontTransform::Rotate90) } else { font };
    let style = font.color(&INK).pos(Pos::new(end, VPos::Center));
    area.draw_text(text, &style, place).expect(DRAWN);
}

/// Draws a filled rectangle.
pub(super) fn fill(area: &Area, corners: [(i32, i32); 2], colour: RGBColor) {
    area.draw(&Rectangle::new(corners, colour.filled())).expect(DRAWN);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_at_the_axis() {
        let scale = Scale::linear(0.0..1.0);
        let points = [(0.0, 0.5), (1.0, 1.5), (2.0, 2.0), (3.0, 0.0), (4.0, f64::NAN), (5.0, 0.5)];
        let pieces = inside(&points, &scale);
        assert_eq!(pieces, [vec![(0.0, 0.5), (0.5, 1.0)], vec![(2.5, 1.0), (3.0, 0.0)]]);
        let flat = [(0.0, 0.2), (1.0, 0.2), (2.0, 0.2)];
        assert_eq!(inside(&flat, &scale), [flat.to_vec()]);
        assert!(inside(&[(0.0, 2.0), (1.0, 2.0)], &scale).is_empty());
    }

    #[test]
    fn deviations_are_bars_or_a_band() {
        let axis = || Axis::new("", Scale::linear(0.0..1.0));
        let series = || {
            let points = vec![(0.0, 0.4), (1.0, 0.9)];
            Series::new("", points, BLACK, Stroke::Line(1)).with_deviations(vec![0.1, 0.2])
        };
        let count = |series: Series, shape: &str| {
            lines(&axis(), &axis(), "", &[series]).matches(shape).count()
        };
        assert_eq!(count(series(), "<polygon"), 0);
        assert_eq!(count(series().as_band(), "<polygon"), 1);
        assert_eq!(count(series(), "<polyline") - count(series().as_band(), "<polyline"), 2);
    }

    #[test]
    fn every_named_series_is_in_the_legend() {
        let axis = |label: &str| Axis::new(label, Scale::linear(0.0..1.0));
        let points = vec![(0.0, 0.1), (1.0, 0.9)];
        let strokes = [Stroke::Line(1), Stroke::Dotted(2), Stroke::Dashed(1), Stroke::Crosses];
        let series: Vec<Series> = strokes
            .into_iter()
            .zip(["a line", "dots", "dashes", "crosses"])
            .map(|(stroke, name)| Series::new(name, points.clone(), BLACK, stroke))
            .collect();
        let svg = lines(&axis("across"), &axis("up"), "title", &series);
        for text in ["a line", "dots", "dashes", "crosses", "across", "up", "title"] {
            assert!(svg.contains(&format!("\n{text}\n")), "{text}: {svg}");
        }
    }
}
