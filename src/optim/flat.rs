//! All parameters in one buffer, all gradients in another, all rates in a third.
/// Stub
pub struct FlatParameters;
