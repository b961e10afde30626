//! What a model has to predict: what data asks for, and what an Alrao model is made for.

/// What is predicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// One class out of several.
    Classification {
        /// Number of classes, K.
        classes: usize,
    },
    /// This number of values; each classifier is a Gaussian of variance 1 around its outputs.
    Regression {
        /// Number of outputs, D.
        outputs: usize,
    },
}

impl Task {
    /// Outputs of one copy of the last layer.
    pub fn outputs(self) -> usize {
        match self {
            Task::Classification { classes } => classes,
            Task::Regression { outputs } => outputs,
        }
    }
}
