//! Data sets in host memory, and the loader that brings their batches.
