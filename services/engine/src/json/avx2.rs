//! What is asked of 64 bytes at a time on processors with AVX2.

use std::arch::x86_64::{
    __m256i, _mm256_cmpeq_epi8, _mm256_loadu_si256, _mm256_movemask_epi8, _mm256_set1_epi8,
};

/// Whether this processor has all that functions for it are compiled for: `avx2,bmi1,bmi2,lzcnt,popcnt`.
///
/// They came together, but a virtual machine may show some of them only.
pub(super) fn is_there() -> bool {
    std::is_x86_feature_detected!("avx2")
        && std::is_x86_feature_detected!("bmi1")
        && std::is_x86_feature_detected!("bmi2")
        && std::is_x86_feature_detected!("lzcnt")
        && std::is_x86_feature_detected!("popcnt")
}

#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn halves_of(block: &[u8; 64]) -> [__m256i; 2] {
    let halves = block.as_chunks::<32>().0;
    [loaded(&halves[0]), loaded(&halves[1])]
}

#[target_feature(enable = "avx2")]
#[inline]
fn loaded(half: &[u8; 32]) -> __m256i {
    // SAFETY: 32 bytes were just borrowed, and the load asks for no alignment.
    unsafe { _mm256_loadu_si256(std::ptr::from_ref(half).cast()) }
}

#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn equal(half: __m256i, byte: u8) -> __m256i {
    _mm256_cmpeq_epi8(half, _mm256_set1_epi8(byte.cast_signed()))
}

/// One bit for each byte of both halves.
#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn both([low, high]: [__m256i; 2]) -> u64 {
    let bits = |half: __m256i| u64::from(_mm256_movemask_epi8(half).cast_unsigned());
    bits(low) | bits(high) << 32
}
