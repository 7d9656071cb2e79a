//! Stored windows as bytes.
//!
//! Owns the form and its checksum. A layout is written once for all windows that are counted by it, so that
//! windows can be read when the baseline is gone. Numbers are LEB128, so that empty bins take a byte; sums
//! are kept to the last bit. Reading bounds every length by what there is. Pure.

use std::sync::Arc;

use super::store::VersionKey;
use crate::domain::ids::{ModelName, VersionName, is_valid_name};
use crate::domain::stats::counts::{Counts, FeatureCounts};
use crate::domain::stats::heavy_hitters::{HeavyHitters, Hitter};
use crate::domain::stats::layout::{
    Categories, Edges, Feature, FeatureKind, Layout, LayoutHash, Role,
};
use crate::domain::stats::window::{LatencyCounts, Minute, Stage, WindowCounts};

/// What a file begins with; the digit is the version of the form.
const MAGIC: &[u8] = b"PMWINDOWS1";

/// The content of a file.
#[derive(Debug)]
pub(super) struct Stored {
    /// Records up to this number are counted.
    pub(super) lsn: u64,
    pub(super) entries: Vec<Entry>,
}

/// The counts of one window of a version.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: VersionKey,
    /// The first minute of the window.
    pub(super) minute: Minute,
    pub(super) counts: WindowCounts,
}

/// Why bytes are no stored windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum CodecError {
    #[error("it does not begin as stored windows do")]
    Magic,
    #[error("its checksum is wrong")]
    Checksum,
    #[error("it ends too early")]
    Short,
    #[error("{0} in it cannot be")]
    Unsound(&'static str),
}

/// Writes windows.
pub(super) fn encode(lsn: u64, entries: &[Entry]) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    let counts = || entries.iter().flat_map(|entry| entry.counts.values());
    let mut layouts: Vec<&Arc<Layout>> = Vec::new();
    for counts in counts() {
        if layouts.iter().all(|layout| layout.hash() != counts.layout().hash()) {
            layouts.push(counts.layout());
        }
    }
    number(&mut out, lsn);
    number(&mut out, layouts.len() as u64);
    layouts.iter().for_each(|layout| put_layout(&mut out, layout));
    number(&mut out, entries.len() as u64);
    for entry in entries {
        text(&mut out, entry.key.model.as_str());
        text(&mut out, entry.key.version.as_str());
        number(&mut out, entry.minute.0.into());
        put_traffic(&mut out, &entry.counts);
        number(&mut out, entry.counts.values().len() as u64);
        for counts in entry.counts.values() {
            let at = layouts.iter().position(|layout| layout.hash() == counts.layout().hash());
            number(&mut out, at.unwrap_or_default() as u64);
            counts.features().iter().for_each(|feature| put_feature(&mut out, feature));
        }
    }
    let checksum = crc32c::crc32c(&out);
    out.extend(checksum.to_le_bytes());
    out
}

fn put_layout(out: &mut Vec<u8>, layout: &Layout) {
    out.extend(layout.hash().to_bytes());
    number(out, layout.features().len() as u64);
    for feature in layout.features() {
        text(out, feature.name());
        out.push(u8::from(feature.role() == Role::Output));
        match feature.kind() {
            FeatureKind::Numeric(edges) => {
                out.push(0);
                for list in [edges.cuts(), edges.point_masses()] {
                    number(out, list.len() as u64);
                    out.extend(list.iter().flat_map(|cut| cut.to_le_bytes()));
                }
            }
            FeatureKind::Categorical(categories) => {
                out.push(1);
                number(out, categories.values().len() as u64);
                categories.values().iter().for_each(|value| text(out, value));
            }
            FeatureKind::Boolean => out.push(2),
        }
    }
}

fn put_traffic(out: &mut Vec<u8>, counts: &WindowCounts) {
    let traffic = &counts.traffic;
    let numbers = traffic.outcomes.iter().chain(&traffic.unseen);
    numbers.for_each(|count| number(out, *count));
    number(out, traffic.rows);
    number(out, traffic.seen);
    for stage in Stage::ALL {
        let times = traffic.latency(stage);
        number(out, times.sum_us());
        number(out, times.buckets().len() as u64);
        let mut before = 0;
        for (us, count) in times.buckets() {
            number(out, u64::from(us - before));
            number(out, *count);
            before = *us;
        }
    }
    put_inputs(out, &counts.inputs);
}

fn put_inputs(out: &mut Vec<u8>, inputs: &HeavyHitters) {
    number(out, inputs.total());
    number(out, inputs.hitters().len() as u64);
    for hitter in inputs.hitters() {
        out.extend(hitter.input.to_le_bytes());
        number(out, hitter.count);
        number(out, hitter.error);
    }
}

fn put_feature(out: &mut Vec<u8>, feature: &FeatureCounts) {
    number(out, feature.slots().len() as u64);
    feature.slots().iter().for_each(|count| number(out, *count));
    number(out, feature.sums().len() as u64);
    // A bin without values has no sum.
    let filled = feature.sums().iter().zip(feature.slots()).filter(|(_, count)| **count > 0);
    filled.for_each(|(sum, _)| out.extend(sum.to_le_bytes()));
    out.extend(feature.min().to_le_bytes());
    out.extend(feature.max().to_le_bytes());
}

fn number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn text(out: &mut Vec<u8>, text: &str) {
    number(out, text.len() as u64);
    out.extend(text.as_bytes());
}

/// Reads windows. `share` is given each layout and returns one that equal ones share.
pub(super) fn decode(
    bytes: &[u8],
    mut share: impl FnMut(LayoutHash, Layout) -> Arc<Layout>,
) -> Result<Stored, CodecError> {
    let (body, checksum) = bytes.split_last_chunk::<4>().ok_or(CodecError::Short)?;
    let rest = body.strip_prefix(MAGIC).ok_or(CodecError::Magic)?;
    if crc32c::crc32c(body) != u32::from_le_bytes(*checksum) {
        return Err(CodecError::Checksum);
    }
    let mut input = Input(rest);
    let lsn = input.number()?;
    let mut layouts = Vec::new();
    for _ in 0..input.count()? {
        let (hash, layout) = input.layout()?;
        layouts.push(share(hash, layout));
    }
    let mut entries = Vec::new();
    for _ in 0..input.count()? {
        let (model, version) = (input.name()?, input.name()?);
        let minute = Minute(input.small()?);
        let mut counts = input.traffic()?;
        for _ in 0..input.count()? {
            let at = input.count()?;
            let layout = layouts.get(at).ok_or(CodecError::Unsound("the number of a layout"))?;
            let features = layout.features().iter().map(|_| input.feature());
            let features = features.collect::<Result<Vec<_>, _>>()?;
            let restored = Counts::restore(Arc::clone(layout), features);
            counts.add_values(&restored.map_err(|_unfit| CodecError::Unsound("a count"))?);
        }
        let key = VersionKey { model: ModelName::new(model), version: VersionName::new(version) };
        entries.push(Entry { key, minute, counts });
    }
    if input.0.is_empty() {
        Ok(Stored { lsn, entries })
    } else {
        Err(CodecError::Unsound("the end"))
    }
}

/// What is left to read.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], CodecError> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(CodecError::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], CodecError> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(CodecError::Short)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn number(&mut self) -> Result<u64, CodecError> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(CodecError::Unsound("a number"))
    }

    fn small(&mut self) -> Result<u32, CodecError> {
        u32::try_from(self.number()?).map_err(|_large| CodecError::Unsound("a number"))
    }

    /// The number of things that follow, each of at least a byte.
    fn count(&mut self) -> Result<usize, CodecError> {
        let count = usize::try_from(self.number()?).unwrap_or(usize::MAX);
        if count <= self.0.len() { Ok(count) } else { Err(CodecError::Short) }
    }

    fn text(&mut self) -> Result<&'a str, CodecError> {
        let len = self.count()?;
        std::str::from_utf8(self.take(len)?).map_err(|_bad| CodecError::Unsound("a text"))
    }

    fn name(&mut self) -> Result<&'a str, CodecError> {
        let name = self.text()?;
        if is_valid_name(name) { Ok(name) } else { Err(CodecError::Unsound("a name")) }
    }

    fn layout(&mut self) -> Result<(LayoutHash, Layout), CodecError> {
        let hash = LayoutHash::from_bytes(self.array()?);
        let mut features = Vec::new();
        for _ in 0..self.count()? {
            features.push(self.layout_feature()?);
        }
        let unsound = CodecError::Unsound("a layout");
        let layout = Layout::new(features).map_err(|_bad| unsound)?;
        if layout.hash() == hash { Ok((hash, layout)) } else { Err(unsound) }
    }

    fn layout_feature(&mut self) -> Result<Feature, CodecError> {
        let name = self.text()?;
        let unsound = CodecError::Unsound("a feature");
        let role = match self.array()? {
            [0] => Role::Input,
            [1] => Role::Output,
            [_] => return Err(unsound),
        };
        let kind = match self.array()? {
            [0] => {
                let (cuts, points) = (self.singles()?, self.singles()?);
                FeatureKind::Numeric(Edges::new(&cuts, &points).map_err(|_bad| unsound)?)
            }
            [1] => {
                let mut values = Vec::new();
                for _ in 0..self.count()? {
                    values.push(self.text()?);
                }
                FeatureKind::Categorical(Categories::new(&values).map_err(|_bad| unsound)?)
            }
            [2] => FeatureKind::Boolean,
            [_] => return Err(unsound),
        };
        Ok(Feature::new(name, role, kind))
    }

    fn singles(&mut self) -> Result<Vec<f64>, CodecError> {
        let mut singles = Vec::new();
        for _ in 0..self.count()? {
            singles.push(f32::from_le_bytes(self.array()?).into());
        }
        Ok(singles)
    }

    fn traffic(&mut self) -> Result<WindowCounts, CodecError> {
        let mut counts = WindowCounts::default();
        let traffic = &mut counts.traffic;
        for count in traffic.outcomes.iter_mut().chain(&mut traffic.unseen) {
            *count = self.number()?;
        }
        traffic.rows = self.number()?;
        traffic.seen = self.number()?;
        for stage in Stage::ALL {
            let sum_us = self.number()?;
            let mut buckets = Vec::new();
            let mut before = 0u32;
            for _ in 0..self.count()? {
                before = before.saturating_add(self.small()?);
                buckets.push((before, self.number()?));
            }
            let times = LatencyCounts::from_parts(buckets, sum_us);
            *traffic.latency_mut(stage) = times.ok_or(CodecError::Unsound("a time"))?;
        }
        counts.inputs = self.inputs()?;
        Ok(counts)
    }

    fn inputs(&mut self) -> Result<HeavyHitters, CodecError> {
        let total = self.number()?;
        let mut hitters = Vec::new();
        for _ in 0..self.count()? {
            let input = u128::from_le_bytes(self.array()?);
            hitters.push(Hitter { input, count: self.number()?, error: self.number()? });
        }
        HeavyHitters::from_parts(total, hitters).ok_or(CodecError::Unsound("an input"))
    }

    fn feature(&mut self) -> Result<FeatureCounts, CodecError> {
        let mut slots = Vec::new();
        for _ in 0..self.count()? {
            slots.push(self.number()?);
        }
        // Most sums take no byte: that of an empty bin is not there.
        let len = usize::try_from(self.number()?).unwrap_or(usize::MAX);
        if len > slots.len() {
            return Err(CodecError::Unsound("the number of sums"));
        }
        let mut sums = Vec::new();
        for at in 0..len {
            let filled = slots.get(at).is_some_and(|count| *count > 0);
            sums.push(if filled { f64::from_le_bytes(self.array()?) } else { 0.0 });
        }
        let (min, max) = (f32::from_le_bytes(self.array()?), f32::from_le_bytes(self.array()?));
        Ok(FeatureCounts::from_parts(slots.into(), sums.into(), min, max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::record::{Latency, Outcome};
    use crate::domain::stats::layout::Value;
    use crate::domain::stats::window::{TrafficRecorder, Unseen};
    use proptest::prelude::*;

    fn layout() -> Arc<Layout> {
        let edges = Edges::new(&[-1.0, 0.5, 7.25], &[0.0]).unwrap();
        let feature = |name: &str, role, kind| Feature::new(name, role, kind);
        let values = Categories::new(&["de", "7"]).unwrap();
        let features = vec![
            feature("age", Role::Input, FeatureKind::Numeric(edges)),
            feature("country", Role::Input, FeatureKind::Categorical(values)),
            feature("vip", Role::Output, FeatureKind::Boolean),
        ];
        Arc::new(Layout::new(features).unwrap())
    }

    fn counted(values: &[(f64, u32)]) -> WindowCounts {
        let mut traffic = TrafficRecorder::default();
        let mut counts = Counts::new(layout());
        for (number, us) in values {
            let latency = Latency { t_total: *us, t_infer: Some(us / 2), ..Latency::default() };
            traffic.record(Outcome::ALL[*us as usize % 7], Some(*us), &latency);
            traffic.miss(Unseen::Sampled);
            counts.record(0, Value::Number(*number));
            counts.record(1, if *us % 2 == 0 { Value::Text("de") } else { Value::Integer(7) });
            counts.record(2, Value::Missing);
        }
        let mut window = WindowCounts::default();
        window.traffic.add_recorded(&traffic);
        window.add_values(&counts);
        values.iter().for_each(|(_, us)| window.inputs.add(u128::from(*us) << 64));
        window
    }

    fn file(values: &[(f64, u32)]) -> Vec<u8> {
        let key = VersionKey { model: ModelName::new("m"), version: VersionName::new("v1") };
        encode(77, &[Entry { key, minute: Minute(9), counts: counted(values) }])
    }

    proptest! {
        /// What is read is what was written, to the last bit.
        #[test]
        fn windows_are_read_back(values in prop::collection::vec((any::<f64>(), any::<u32>()), 0..50)) {
            let stored = decode(&file(&values), |_, layout| Arc::new(layout)).unwrap();
            let written = counted(&values);
            prop_assert_eq!(stored.lsn, 77);
            let entry = &stored.entries[0];
            prop_assert_eq!(entry.minute, Minute(9));
            prop_assert_eq!(&entry.counts.traffic, &written.traffic);
            prop_assert_eq!(&entry.counts.inputs, &written.inputs);
            prop_assert_eq!(entry.counts.values()[0].features(), written.values()[0].features());
            prop_assert_eq!(entry.counts.values()[0].layout().hash(), layout().hash());
        }

        /// A damaged file is refused, and never panics; so is one whose checksum was made to fit.
        #[test]
        fn damage_is_told(at in any::<prop::sample::Index>(), bit in 0u8..8, heal in any::<bool>()) {
            let mut bytes = file(&[(1.0, 3), (f64::NAN, 4)]);
            let body = bytes.len() - 4;
            let at = at.index(if heal { body } else { bytes.len() });
            bytes[at] ^= 1 << bit;
            if heal {
                let checksum = crc32c::crc32c(&bytes[..body]).to_le_bytes();
                bytes[body..].copy_from_slice(&checksum);
                let _read = decode(&bytes, |_, layout| Arc::new(layout)).is_ok();
            } else {
                prop_assert!(decode(&bytes, |_, layout| Arc::new(layout)).is_err());
            }
        }
    }
}
