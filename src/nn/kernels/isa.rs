//! What the processor can do.

use std::sync::OnceLock;

/// An instruction set that kernels are written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(dead_code, reason = "each processor has some of them")]
pub(crate) enum Isa {
    /// AVX-512 with integer dot products (Ice Lake, Sapphire Rapids, Zen 4 and later).
    Avx512Vnni,
    /// AVX2 with fused multiply-add (Haswell, Zen and later).
    Avx2,
    /// NEON with integer dot products (Cortex-A76, Neoverse N1, Apple M1 and later).
    NeonDotprod,
    /// Whatever the compiler makes of plain loops.
    Portable,
}

impl Isa {
    /// The best that this processor has, found out once.
    pub(crate) fn best() -> Self {
        static BEST: OnceLock<Isa> = OnceLock::new();
        *BEST.get_or_init(|| *Self::available().first().unwrap_or(&Self::Portable))
    }

    /// All that this processor has, the best first.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn available() -> Vec<Self> {
        let mut all = Vec::new();
        if std::arch::is_x86_feature_detected!("avx512f")
            && std::arch::is_x86_feature_detected!("avx512bw")
            && std::arch::is_x86_feature_detected!("avx512vl")
            && std::arch::is_x86_feature_detected!("avx512dq")
            && std::arch::is_x86_feature_detected!("avx2")
            && std::arch::is_x86_feature_detected!("fma")
            && std::arch::is_x86_feature_detected!("avx512vnni")
        {
            all.push(Self::Avx512Vnni);
        }
        if std::arch::is_x86_feature_detected!("avx2")
            && std::arch::is_x86_feature_detected!("fma")
            && std::arch::is_x86_feature_detected!("f16c")
        {
            all.push(Self::Avx2);
        }
        all.push(Self::Portable);
        all
    }

    /// All that this processor has, the best first.
    #[cfg(target_arch = "aarch64")]
    pub(crate) fn available() -> Vec<Self> {
        let mut all = Vec::new();
        // The kernel reads words of inputs as bytes, the lowest first.
        if cfg!(target_endian = "little")
            && std::arch::is_aarch64_feature_detected!("neon")
            && std::arch::is_aarch64_feature_detected!("dotprod")
        {
            all.push(Self::NeonDotprod);
        }
        all.push(Self::Portable);
        all
    }

    /// All that this processor has, the best first.
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    pub(crate) fn available() -> Vec<Self> {
        vec![Self::Portable]
    }

    /// Whether all registers together hold no more than 128 numbers of single precision, where those of AVX-512 hold 512.
    pub(crate) fn has_few_registers(self) -> bool {
        self == Self::Avx2 || cfg!(target_arch = "aarch64")
    }
}

/// Makes a function of plain loops into one that takes an [`Isa`] first and runs what the compiler makes of the loops for
/// it. The results are the same for all: multiply and add are fused where the code says so, and nowhere else.
macro_rules! for_each_isa {
    (
        $(#[$attribute:meta])*
        $visibility:vis fn $name:ident $(<const $generic:ident: usize>)? (
            $($argument:ident: $kind:ty),* $(,)?
        ) $(-> $result:ty)? $body:block
    ) => {
        $(#[$attribute])*
        #[cfg_attr(target_arch = "x86_64", expect(unsafe_code, reason = "code for features that were found"))]
        $visibility fn $name $(<const $generic: usize>)? (
            isa: $crate::nn::kernels::Isa,
            $($argument: $kind),*
        ) $(-> $result)? {
            #[inline(always)]
            fn plain $(<const $generic: usize>)? ($($argument: $kind),*) $(-> $result)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2,fma")]
            fn avx512 $(<const $generic: usize>)? ($($argument: $kind),*) $(-> $result)? {
                plain $(::<$generic>)? ($($argument),*)
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2 $(<const $generic: usize>)? ($($argument: $kind),*) $(-> $result)? {
                plain $(::<$generic>)? ($($argument),*)
            }

            match isa {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: this instruction set is chosen only where the processor has its features.
                $crate::nn::kernels::Isa::Avx512Vnni => unsafe { avx512 $(::<$generic>)? ($($argument),*) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: this instruction set is chosen only where the processor has its features.
                $crate::nn::kernels::Isa::Avx2 => unsafe { avx2 $(::<$generic>)? ($($argument),*) },
                _ => plain $(::<$generic>)? ($($argument),*),
            }
        }
    };
}

pub(crate) use for_each_isa;
