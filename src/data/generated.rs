//! Generated images: ten classes of drawn shapes that need a few convolutions to be told apart.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use super::validation::ValidationRule;
use super::{Arrays, Input, Inputs, Split, Targets, Task};
use crate::device::threads::start_scoped;
use crate::random::{Philox, Purpose, Stream};

const SIDE: usize = 32;
const CHANNELS: usize = 3;
const PIXELS: usize = SIDE * SIDE * CHANNELS;
/// Samples for training, validation and testing.
const COUNTS: [usize; 3] = [6000, 1000, 2000];
const RADIUS: (f64, f64) = (8.0, 12.0);
/// The tangent of half of 15 degrees, the largest angle that a shape is rotated by.
const HALF_ANGLE: f64 = 0.131_652_497_587_395_85;
const NOISE: f64 = 0.03;
/// The least distance between the colours of shape and background.
const CONTRAST: f64 = 0.7;
/// Half the width of the clutter stroke, in pixels.
const STROKE: f64 = 0.5;

/// The shapes, in the order of the labels.
#[derive(Clone, Copy)]
enum Shape {
    Disk,
    Ring,
    Square,
    Frame,
    Triangle,
    Diamond,
    Plus,
    Saltire,
    Star,
    Crescent,
}

const SHAPES: [Shape; 10] = [
    Shape::Disk,
    Shape::Ring,
    Shape::Square,
    Shape::Frame,
    Shape::Triangle,
    Shape::Diamond,
    Shape::Plus,
    Shape::Saltire,
    Shape::Star,
    Shape::Crescent,
];

/// Colour images of 32 x 32. Each shows one shape of random position, size, angle and colours, behind one stroke of clutter,
/// with noise. They depend on the seed alone: no library function is used whose last bit differs between machines.
pub fn images(seed: u64) -> Arrays {
    let total = COUNTS.iter().sum::<usize>();
    let mut pixels = vec![0; total * PIXELS];
    draw_all(Philox::new(seed, Purpose::Data), &mut pixels);
    let classes = (0..total).map(|index| (index % SHAPES.len()) as i32).collect();
    let all = Split::new(Inputs::Bytes(pixels), Targets::Classes(classes));
    let [train, valid, _] = COUNTS;
    let part = |numbers: Range<usize>| all.gather(numbers);
    let (test, valid) = (part(train + valid..total), part(train..train + valid));
    let sample = Input::Image { height: SIDE, width: SIDE, channels: CHANNELS };
    let task = Task::Classification { classes: SHAPES.len() };
    let none = ValidationRule::Last { share: 0.0 };
    Arrays::assemble(part(0..COUNTS[0]), Some(valid), Some(test), sample, task, none)
}

/// Images that a thread draws before it looks for more.
const PIECE: usize = 100;

/// Draws every image, on all cores; each image has its own stream of random numbers.
fn draw_all(philox: Philox, pixels: &mut [u8]) {
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get());
    let pieces = Mutex::new(pixels.chunks_mut(PIECE * PIXELS).enumerate());
    let next = || pieces.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || {
        while let Some((piece, pixels)) = next() {
            for (image, pixels) in pixels.chunks_exact_mut(PIXELS).enumerate() {
                draw(philox, (piece * PIECE + image) as u64, pixels);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            // A thread that cannot be started leaves its images to the others.
            let _ = start_scoped(scope, "images", work);
        }
        work();
    });
}

fn draw(philox: Philox, index: u64, pixels: &mut [u8]) {
    let scene = Scene::new(SHAPES[index as usize % SHAPES.len()], &mut philox.stream(index));
    for (place, pixel) in pixels.chunks_exact_mut(CHANNELS).enumerate() {
        let (x, y) = ((place % SIDE) as f64 + 0.5, (place / SIDE) as f64 + 0.5);
        let colour = scene.colour(x, y);
        // The upper half of the counter keeps the noise apart from the scene's numbers.
        let bits = philox.at(index, 1 << 32 | place as u64);
        for (channel, to) in pixel.iter_mut().enumerate() {
            // Rounded to nearest; the conversion saturates.
            *to = ((colour[channel] + noise(bits[channel])) * 255.0 + 0.5) as u8;
        }
    }
}

/// Noise from the sum of four uniform bytes: close to a Gaussian, and without a logarithm.
fn noise(bits: u32) -> f64 {
    const VARIANCE: f64 = 4.0 * (256.0 * 256.0 - 1.0) / 12.0;
    let sum: u32 = bits.to_le_bytes().into_iter().map(u32::from).sum();
    (f64::from(sum) - 510.0) * (NOISE / VARIANCE.sqrt())
}

type Colour = [f64; CHANNELS];

struct Scene {
    shape: Shape,
    centre: (f64, f64),
    radius: f64,
    /// Cosine and sine of the angle.
    turn: (f64, f64),
    background: Colour,
    foreground: Colour,
    stroke: [(f64, f64); 2],
    clutter: Colour,
}

impl Scene {
    fn new(shape: Shape, stream: &mut Stream) -> Scene {
        let radius = stream.uniform_in(RADIUS.0, RADIUS.1);
        let mut place = |margin: f64| stream.uniform_in(margin, SIDE as f64 - margin);
        let centre = (place(radius), place(radius));
        let stroke = [(place(0.0), place(0.0)), (place(0.0), place(0.0))];
        // Cosine and sine from the tangent of the half angle, by arithmetic that gives the same bits on every machine.
        let tangent = stream.uniform_in(-HALF_ANGLE, HALF_ANGLE);
        let norm = 1.0 + tangent * tangent;
        let turn = ((1.0 - tangent * tangent) / norm, 2.0 * tangent / norm);
        let mut colour = || [stream.uniform(), stream.uniform(), stream.uniform()];
        let (background, clutter) = (colour(), colour());
        let mut foreground = colour();
        while distance(&foreground, &background) < CONTRAST {
            foreground = colour();
        }
        Scene { shape, centre, radius, turn, background, foreground, stroke, clutter }
    }

    /// The colour at a point; edges are smoothed over a pixel.
    fn colour(&self, x: f64, y: f64) -> Colour {
        let (dx, dy) = (x - self.centre.0, y - self.centre.1);
        let (cosine, sine) = self.turn;
        let own = (cosine * dx + sine * dy, cosine * dy - sine * dx);
        let shape = coverage(self.shape.outside(own.0, own.1, self.radius));
        let clutter = coverage(distance_to_segment((x, y), self.stroke) - STROKE);
        std::array::from_fn(|channel| {
            let below = mix(self.background[channel], self.foreground[channel], shape);
            mix(below, self.clutter[channel], clutter)
        })
    }
}

impl Shape {
    /// The point's distance outside the shape around the origin, in pixels; negative inside. y points down.
    fn outside(self, x: f64, y: f64, radius: f64) -> f64 {
        let norm = |x: f64, y: f64| (x * x + y * y).sqrt();
        let square = |half: f64| x.abs().max(y.abs()) - half;
        let plus = |x: f64, y: f64| {
            let bar = |along: f64, across: f64| {
                (along.abs() - 0.95 * radius).max(across.abs() - 0.28 * radius)
            };
            bar(x, y).min(bar(y, x))
        };
        match self {
            Shape::Disk => norm(x, y) - 0.9 * radius,
            Shape::Ring => (norm(x, y) - 0.75 * radius).abs() - 0.2 * radius,
            Shape::Square => square(0.78 * radius),
            Shape::Frame => square(0.65 * radius).abs() - 0.17 * radius,
            Shape::Triangle => {
                let side = 0.75f64.sqrt() * x.abs() - 0.5 * y;
                (y - 0.55 * radius).max(side - 0.55 * radius)
            }
            Shape::Diamond => (x.abs() + y.abs() - radius) * 0.5f64.sqrt(),
            Shape::Plus => plus(x, y),
            Shape::Saltire => plus((x + y) * 0.5f64.sqrt(), (y - x) * 0.5f64.sqrt()),
            Shape::Star => star(x, y) - 0.309_016_994_374_947_45 * radius,
            Shape::Crescent => (norm(x, y) - radius).max(0.85 * radius - norm(x - 0.5 * radius, y)),
        }
    }
}

/// The second largest of the distances along five directions: inside a pentagram all but one are small.
fn star(x: f64, y: f64) -> f64 {
    const DIRECTIONS: [(f64, f64); 5] = [
        (0.0, 1.0),
        (0.951_056_516_295_153_5, 0.309_016_994_374_947_45),
        (0.587_785_252_292_473_1, -0.809_016_994_374_947_5),
        (-0.587_785_252_292_473_1, -0.809_016_994_374_947_5),
        (-0.951_056_516_295_153_5, 0.309_016_994_374_947_45),
    ];
    let (mut first, mut second) = (f64::NEG_INFINITY, f64::NEG_INFINITY);
    for (a, b) in DIRECTIONS {
        let distance = a * x + b * y;
        second = second.max(distance.min(first));
        first = first.max(distance);
    }
    second
}

fn coverage(outside: f64) -> f64 {
    (0.5 - outside).clamp(0.0, 1.0)
}

fn mix(below: f64, above: f64, share: f64) -> f64 {
    below + (above - below) * share
}

fn distance(a: &Colour, b: &Colour) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt()
}

fn distance_to_segment((x, y): (f64, f64), [from, to]: [(f64, f64); 2]) -> f64 {
    let (dx, dy) = (to.0 - from.0, to.1 - from.1);
    let along = (x - from.0) * dx + (y - from.1) * dy;
    let share = (along / (dx * dx + dy * dy).max(1e-9)).clamp(0.0, 1.0);
    let (rest_x, rest_y) = (x - from.0 - share * dx, y - from.1 - share * dy);
    (rest_x * rest_x + rest_y * rest_y).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_have_their_sizes_and_all_classes() {
        let arrays = images(0);
        let parts = [&arrays.train, arrays.valid.as_ref().unwrap(), arrays.test.as_ref().unwrap()];
        for (part, count) in parts.into_iter().zip(COUNTS) {
            assert_eq!((part.len(), part.inputs.elements()), (count, count * PIXELS));
            let Targets::Classes(labels) = &part.targets else { panic!("no classes") };
            let of = |class| labels.iter().filter(|&&label| label == class).count();
            assert!((0..10).all(|class| of(class) == count / 10));
        }
        assert!(arrays.normalisation.unwrap().deviation.iter().all(|&x| x > 0.1 && x < 0.5));
    }

    /// The images depend only on the seed, on every machine and with any number of threads.
    #[test]
    fn the_seed_alone_decides() {
        let dataset = |source| crate::data::load(source, crate::data::Kind::Arrays, 0.2).unwrap();
        let zero = dataset("generated");
        assert_eq!(zero.fingerprint, "122c1b8285ce66d7");
        assert_ne!(zero.fingerprint, dataset("generated:1").fingerprint);
        let crate::data::Content::Arrays(arrays) = zero.content else { panic!("no arrays") };
        let mut alone = vec![0; PIXELS];
        draw(Philox::new(0, Purpose::Data), 5999, &mut alone);
        let Inputs::Bytes(train) = &arrays.train.inputs else { panic!("no bytes") };
        assert_eq!(train[5999 * PIXELS..], alone);
    }

    #[test]
    fn noise_has_its_deviation() {
        let mut stream = Philox::new(1, Purpose::Data).stream(0);
        let draws: Vec<f64> = (0..20_000).map(|_| noise(stream.bits())).collect();
        let mean = draws.iter().sum::<f64>() / 20_000.0;
        let deviation = (draws.iter().map(|x| x * x).sum::<f64>() / 20_000.0).sqrt();
        assert!(mean.abs() < 0.001 && (deviation - NOISE).abs() < 0.001, "{mean}, {deviation}");
    }
}
