//! The GPUs, through the real NVML code path and a stand-in for NVIDIA's library.

mod contract;
mod machine;
mod nvml;
