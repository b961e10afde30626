//! The flat buffers: one for all parameters, one for all gradients, one for all learning rates.

use crate::device::{DType, Device};
use crate::nn::{Entry, Features, FileLayout, Module, for_each_entry};
use crate::ops::tensor::elementwise::accumulate;
use crate::shape::Shape;
use crate::tape::Slot;
use crate::tensor::Tensor;

/// Every parameter starts at a multiple of this many elements, a cache line of f32.
const ALIGNMENT: usize = 16;

/// The least unused elements between two parameters, so that an access past the end of one does not silently corrupt the
/// next. The simulator reports any access to them.
const GAP: usize = 16;

/// A parameter's position in the flat buffers.
#[derive(Clone, Debug)]
pub struct FlatEntry {
    /// The full name, as PyTorch's.
    pub name: String,
    /// The extents in memory.
    pub shape: Shape,
    /// Which elements share a learning rate.
    pub features: Features,
    /// Its layout in files.
    pub layout: FileLayout,
    /// Its first element in the buffers of values, gradients and moments.
    pub base: usize,
    /// Its first feature in the buffer of rates.
    pub rate_base: usize,
    /// Whether it belongs to the head: a step does not update classifiers that diverged.
    pub in_head: bool,
}

/// A model's parameters, gradients and learning rates, each in one buffer.
pub struct FlatParameters {
    entries: Vec<FlatEntry>,
    values: Tensor,
    narrow: Option<Tensor>,
    gradients: Tensor,
    rates: Tensor,
    head_from: usize,
}

impl FlatParameters {
    /// Moves a model's parameters into flat buffers on a device. `in_head` tells the head's parameters by name; they
    /// come last in the model's order. Rates are zero at first.
    ///
    /// With BF16 as `dtype`, all buffers are F32, and forward passes read the weights from a further copy in BF16. An SGD
    /// update then moves 14 bytes per parameter.
    pub fn new(
        module: &dyn Module,
        in_head: &dyn Fn(&str) -> bool,
        device: &Device,
        dtype: DType,
    ) -> Self {
        let (entries, length) = layout(module, in_head);
        let zeros = |elements: usize| Tensor::zeros(device, [elements], dtype.wide());
        let with_gaps = || {
            let buffer = zeros(length);
            forbid_gaps(&buffer, &entries);
            buffer
        };
        let rates = entries.iter().map(|entry| entry.features.count).sum();
        let head_from =
            entries.iter().find(|entry| entry.in_head).map_or(length, |entry| entry.base);
        let is_last = entries.iter().all(|entry| entry.in_head == (entry.base >= head_from));
        assert!(is_last, "the parameters of the head come last");
        let flat = FlatParameters {
            values: with_gaps(),
            narrow: (dtype != dtype.wide()).then(|| Tensor::zeros(device, [length], dtype)),
            gradients: with_gaps(),
            rates: zeros(rates),
            entries,
            head_from,
        };
        let mut places = flat.entries.iter();
        for_each_entry(module, &mut |_, entry| {
            let Entry::Parameter(parameter) = entry else { return };
            let own = places.next().expect("a module shows the same parameters each time");
            let is_narrow = parameter.dtype_in(dtype) != dtype.wide();
            let narrow = flat.narrow.as_ref().filter(|_| is_narrow);
            parameter.place(
                flat.view(&flat.values, own),
                narrow.map(|narrow| flat.view(narrow, own)),
                flat.view(&flat.gradients, own),
            );
        });
        flat.refresh_narrow();
        flat
    }

    /// Every parameter's position, in the model's order.
    pub fn entries(&self) -> &[FlatEntry] {
        &self.entries
    }

    /// A buffer of zeros with the layout and dtype of the values.
    pub fn zeros_like_values(&self) -> Tensor {
        let values = &self.values;
        let buffer = Tensor::zeros(values.device(), values.shape(), values.dtype());
        forbid_gaps(&buffer, &self.entries);
        buffer
    }

    /// All values. The gaps between parameters hold zero, or NaN in the simulator.
    pub fn values(&self) -> &Tensor {
        &self.values
    }

    /// The values rounded to BF16, if forward passes read those.
    pub fn narrow(&self) -> Option<&Tensor> {
        self.narrow.as_ref()
    }

    /// Refreshes the BF16 copy after values were written outside an update.
    pub(crate) fn refresh_narrow(&self) {
        let Some(narrow) = &self.narrow else { return };
        // One by one, since the gaps must not be read.
        for entry in &self.entries {
            let tensor = self.view(narrow, entry);
            accumulate(&self.view(&self.values, entry), &Slot { tensor, add: false });
        }
    }

    /// All gradients, in the layout of the values.
    pub fn gradients(&self) -> &Tensor {
        &self.gradients
    }

    /// The gradients that clipping counts and scales: all but those of the head.
    pub fn clipped_gradients(&self) -> Tensor {
        self.gradients.view(0, [self.head_from], self.head_from)
    }

    /// The learning rate of every feature of every parameter.
    pub fn rates(&self) -> &Tensor {
        &self.rates
    }

    /// One parameter's part of a buffer with the values' layout.
    pub fn view(&self, buffer: &Tensor, entry: &FlatEntry) -> Tensor {
        buffer.view(entry.base, entry.shape, entry.shape.columns())
    }

    /// The learning rates of one parameter's features.
    pub fn rates_of(&self, entry: &FlatEntry) -> Tensor {
        self.rates.view(entry.rate_base, [entry.features.count], entry.features.count)
    }
}

/// Forbids accesses to the gaps between parameters.
fn forbid_gaps(buffer: &Tensor, entries: &[FlatEntry]) {
    let ends = entries.iter().skip(1).map(|next| next.base).chain([buffer.shape().elements()]);
    for (entry, end) in entries.iter().zip(ends) {
        buffer.forbid(entry.base + entry.shape.elements()..end);
    }
}

fn layout(module: &dyn Module, in_head: &dyn Fn(&str) -> bool) -> (Vec<FlatEntry>, usize) {
    let mut entries = Vec::new();
    let (mut base, mut rate_base) = (0, 0);
    for_each_entry(module, &mut |name, entry| {
        let Entry::Parameter(parameter) = entry else { return };
        let (shape, features) = (parameter.shape(), parameter.features());
        entries.push(FlatEntry {
            name: name.to_owned(),
            shape,
            features,
            layout: parameter.layout(),
            base,
            rate_base,
            in_head: in_head(name),
        });
        base += shape.elements().next_multiple_of(ALIGNMENT) + GAP;
        rate_base += features.count;
    });
    (entries, base)
}
