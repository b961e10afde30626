//! The pictures show what was asked for.

use super::accesses::drawn;
use super::marks::pattern;
use super::{banks, threads};
use crate::device::gpu::{LaunchSample, SampledRequest};
use crate::workshop::report::{Sample, SampledArray};

/// A request in which each lane has the offset and the bytes that `of_lane` gives.
fn request(is_shared: bool, of_lane: impl Fn(u64) -> Option<(u64, u32)>) -> SampledRequest {
    SampledRequest {
        place: "a.cu:1".into(),
        is_shared,
        is_write: false,
        block: [0; 3],
        warp: 0,
        phase: 0,
        number: 0,
        array: "x".into(),
        start: 0,
        lanes: (0..32).map(of_lane).collect(),
        transactions: 0,
        least: 0,
    }
}

#[test]
fn sectors_are_those_that_the_lanes_touch() {
    let sectors = |of_lane: fn(u64) -> Option<(u64, u32)>| {
        let request = request(false, of_lane);
        (threads::sectors(&request).len(), pattern(&request))
    };
    let words = |(count, text): (usize, &str)| (count, text.to_owned());
    for (own, expected) in [
        (
            sectors(|lane| Some((4 * lane, 4))),
            (4, "neighbouring lanes have neighbouring addresses"),
        ),
        (sectors(|lane| Some((8 * lane, 4))), (8, "a stride of 2 elements from lane to lane")),
        (sectors(|lane| Some((128 * lane, 4))), (32, "a stride of 32 elements from lane to lane")),
        (sectors(|_| Some((64, 4))), (1, "a broadcast: all lanes have one address")),
        (
            sectors(|lane| Some((16 * lane, 16))),
            (16, "neighbouring lanes have neighbouring addresses"),
        ),
        (
            sectors(|lane| Some((4 * (31 - lane), 4))),
            (4, "neighbouring lanes have neighbouring addresses, in reverse"),
        ),
        (
            sectors(|lane| Some((256 * (lane / 8) + 4 * (lane % 8), 4))),
            (4, "4 runs of neighbouring addresses"),
        ),
        (sectors(|lane| (lane == 0).then_some((0, 4))), (1, "one lane")),
    ] {
        assert_eq!(own, words(expected));
    }
    // An array that begins in the middle of a sector.
    let mut late = request(false, |lane| Some((4 * lane, 4)));
    late.start = 16;
    assert_eq!(threads::sectors(&late).len(), 5);
}

#[test]
fn banks_are_as_high_as_their_conflicts() {
    let heights = |of_lane: fn(u64) -> Option<(u64, u32)>| -> Vec<usize> {
        let groups = banks::groups(&request(true, of_lane));
        groups.iter().map(|banks| banks.values().map(|words| words.len()).max().unwrap()).collect()
    };
    assert_eq!(heights(|lane| Some((4 * lane, 4))), [1]);
    assert_eq!(heights(|lane| Some((8 * lane, 4))), [2]);
    assert_eq!(heights(|lane| Some((128 * lane, 4))), [32]);
    assert_eq!(heights(|lane| Some((132 * lane, 4))), [1]);
    assert_eq!(heights(|_| Some((0, 4))), [1]);
    // Lanes with 16 bytes are served by eights.
    assert_eq!(heights(|lane| Some((16 * lane, 16))), [1, 1, 1, 1]);
}

#[test]
fn a_picture_has_a_line_for_each_lane_and_a_box_for_each_sector() {
    let sample = Sample {
        arrays: vec![SampledArray { name: "x".into(), element: 4, shape: vec![8, 32] }],
        ..Sample::default()
    };
    let mut own = request(false, |lane| (lane < 8).then_some((128 * lane, 4)));
    (own.transactions, own.least) = (8, 1);
    let text = drawn(&LaunchSample::default(), &own, &sample);
    assert_eq!(text.matches("<path class=\"l").count(), 8);
    assert_eq!(text.matches("class=\"sector\"").count(), 8);
    assert!(text.contains("<b>8 sectors</b>; at least 1 sector."), "{text}");
    assert!(text.contains("lane 7: x[7][0], 4 bytes") && text.contains("8 lanes, 4 bytes each"));
}
