//! Statistics over steps: running sums of losses and counts, and the counters of steps and of the data's cursor.

use crate::device::gpu::Pointer;
use crate::device::{Cost, DType, Device, Gpu};
use crate::ops::head::classifiers::Head;
use crate::ops::{begin, check_step};
use crate::tensor::Tensor;

/// The index of each sum in [`Sums::values`].
const LOSS: usize = 0;
const CORRECT: usize = 1;
const SAMPLES: usize = 2;
const WITHOUT_FINITE_CLASSIFIER: usize = 3;
const DIVERGED: usize = 4;
const STREAK: usize = 5;
const LONGEST_STREAK: usize = 6;
const COUNT: usize = 7;

/// Sums over steps, in device memory, so that a step reads nothing back.
pub struct Sums {
    values: Tensor,
}

/// The sums, read back to the host.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SumValues {
    /// Sum over samples of the mixture's loss.
    pub loss: f64,
    /// Correctly classified samples.
    pub correct: f64,
    /// Samples.
    pub samples: f64,
    /// Samples without any finite classifier.
    pub samples_without_finite_classifier: f64,
    /// Steps, summed over the classifiers, in which one had no finite loss.
    pub diverged_classifiers: f64,
    /// Steps in a row, up to the last one, without a finite loss.
    pub streak: f64,
    /// The longest such streak.
    pub longest_streak: f64,
}

impl Sums {
    /// Sums at zero.
    pub fn new(device: &Device) -> Self {
        Sums { values: Tensor::zeros(device, [COUNT], DType::F64) }
    }

    /// The state that a checkpoint keeps, F64 `[7]`.
    pub fn values(&self) -> &Tensor {
        &self.values
    }

    /// Reads the sums back.
    pub fn read(&self) -> SumValues {
        let values = self.values.to_vec::<f64>();
        SumValues {
            loss: values[LOSS],
            correct: values[CORRECT],
            samples: values[SAMPLES],
            samples_without_finite_classifier: values[WITHOUT_FINITE_CLASSIFIER],
            diverged_classifiers: values[DIVERGED],
            streak: values[STREAK],
            longest_streak: values[LONGEST_STREAK],
        }
    }

    /// Sets all sums to zero.
    pub fn clear(&self) {
        self.values.zero_();
    }

    /// Sets loss, correct and samples to zero; the counts of divergence go on.
    pub fn start_epoch(&self) {
        self.values.view(LOSS, [SAMPLES + 1], SAMPLES + 1).zero_();
    }
}

/// Adds one batch's head to the sums.
pub fn accumulate(sums: &Sums, head: &Head, samples: usize) {
    let _op = begin("step_statistics", &[&sums.values, &sums.values], 2 * COUNT);
    match sums.values.device() {
        Device::Gpu(gpu) => launch_accumulate(gpu, sums, head, samples),
        Device::Cpu(_) => {
            let mut values = sums.values.write::<f64>();
            let loss = head.loss.read::<f64>()[0];
            values[LOSS] += loss * samples as f64;
            values[CORRECT] += f64::from(head.correct.read::<i32>()[0]);
            values[SAMPLES] += samples as f64;
            values[WITHOUT_FINITE_CLASSIFIER] +=
                f64::from(head.samples_without_finite_classifier.read::<i32>()[0]);
            values[DIVERGED] +=
                head.diverged.read::<u8>().iter().map(|flag| f64::from(*flag)).sum::<f64>();
            values[STREAK] = if loss.is_finite() { 0.0 } else { values[STREAK] + 1.0 };
            values[LONGEST_STREAK] = values[LONGEST_STREAK].max(values[STREAK]);
        }
    }
}

fn launch_accumulate(gpu: &Gpu, sums: &Sums, head: &Head, samples: usize) {
    let (loss, correct) = (head.loss.pointer(), head.correct.pointer());
    let (without_finite_classifier, diverged) =
        (head.samples_without_finite_classifier.pointer(), head.diverged.pointer());
    let (values, samples) = (sums.values.pointer(), samples as f64);
    let classifiers = head.diverged.shape().elements() as u32;
    gpu.launch(
        "step_statistics_add",
        [1; 3],
        [32, 1, 1],
        &[&loss, &correct, &without_finite_classifier, &diverged, &values, &samples, &classifiers],
    );
}

/// Adds 1 to the step's number, I64 `[1]`, and a batch's number of rows to the data's cursor, I32 `[1]`.
pub fn advance(number: Option<&Tensor>, cursor: Option<(&Tensor, usize)>) {
    let Some(device) = number.or(cursor.map(|(cursor, _)| cursor)).map(Tensor::device) else {
        return;
    };
    number.into_iter().for_each(|number| check_step("advance", number));
    let _op = device.op("advance", Cost::default);
    match device {
        Device::Gpu(gpu) => {
            let pointer = |own: Option<&Tensor>| own.map_or(Pointer::NULL, Tensor::pointer);
            let rows = cursor.map_or(0, |(_, rows)| rows as i32);
            let (number, cursor) = (pointer(number), pointer(cursor.map(|(cursor, _)| cursor)));
            gpu.launch("step_statistics_advance", [1; 3], [1; 3], &[&number, &cursor, &rows]);
        }
        Device::Cpu(_) => {
            number.into_iter().for_each(|number| number.write::<i64>()[0] += 1);
            cursor.into_iter().for_each(|(cursor, rows)| cursor.write::<i32>()[0] += rows as i32);
        }
    }
}
