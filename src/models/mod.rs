//! The architectures of the paper, each a pre-classifier: it ends in features and knows nothing of what classifies them.

pub mod char_lstm;
