//! From values to a baseline.
//!
//! Owns the choice of edges, point masses and categories, and the noise of chunks. Values come in time
//! order, one column at a time; the caller reads the file.

mod classes;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::baseline::{FeatureFile, KindWord, Noise};
use super::distance::psi;
use super::groups::Groups;
use super::layout::{
    BINS_DEFAULT, BINS_MAX, CATEGORIES_MAX, Edges, Feature, FeatureKind, NAME_BYTES_MAX, Role,
    Value, single,
};

/// The most different texts of a column that are told apart.
const TEXTS_MAX: usize = 1 << 20;
/// The code of an absent text.
const ABSENT: u32 = u32::MAX;
/// The code of a text that was one too many.
const BEYOND: u32 = u32::MAX - 1;
/// The chunks below which their noise says nothing.
const CHUNKS_MIN: usize = 5;
/// What a text that is told apart takes beside its bytes.
const TEXT_BYTES: usize = 64;

/// How a feature is cut.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Options {
    /// The bins of numeric features, at most [`BINS_MAX`].
    pub bins: usize,
    /// The rows of a chunk whose noise is measured.
    pub chunk: usize,
    /// Equally wide bins between two numbers, as scores want them, in place of quantiles.
    pub even: Option<(f64, f64)>,
}

impl Default for Options {
    fn default() -> Self {
        Self { bins: BINS_DEFAULT, chunk: 1000, even: None }
    }
}

/// The values of one feature, in time order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Column {
    /// Numbers.
    Numbers(Numbers),
    /// Texts, or numbers that are names.
    Texts(Texts),
    /// Truth values.
    Truths(Truths),
}

/// A column of numbers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Numbers {
    /// NaN where the value was absent or not a number.
    values: Vec<f32>,
    missing: u64,
}

/// A column of texts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Texts {
    codes: Vec<u32>,
    known: BTreeMap<Box<str>, u32>,
}

/// A column of truth values.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Truths {
    values: Vec<Option<bool>>,
}

impl Numbers {
    /// Adds a value; one that is not finite is kept as what it is.
    pub fn push(&mut self, value: Option<f64>) {
        self.missing += u64::from(value.is_none());
        self.values.push(value.map_or(f32::NAN, single));
    }
}

impl Texts {
    /// Adds a value.
    pub fn push(&mut self, value: Option<&str>) {
        let mut room = usize::MAX;
        self.push_within(value, &mut room);
    }

    /// Adds a value. A text that was not there before takes of `room` the bytes that it needs; where those are too few,
    /// it is not told from others.
    fn push_within(&mut self, value: Option<&str>, room: &mut usize) {
        let code = match value {
            None => ABSENT,
            Some(text) => match self.known.get(text) {
                Some(&code) => code,
                None if self.known.len() >= TEXTS_MAX || text.len() > NAME_BYTES_MAX => BEYOND,
                None => match room.checked_sub(text.len() + TEXT_BYTES) {
                    None => BEYOND,
                    Some(left) => {
                        *room = left;
                        let code = self.known.len() as u32;
                        self.known.insert(text.into(), code);
                        code
                    }
                },
            },
        };
        self.codes.push(code);
    }
}

impl Truths {
    /// Adds a value.
    pub fn push(&mut self, value: Option<bool>) {
        self.values.push(value);
    }
}

impl Column {
    /// An empty column.
    pub fn new(kind: KindWord) -> Self {
        match kind {
            KindWord::Numeric => Self::Numbers(Numbers::default()),
            KindWord::Categorical => Self::Texts(Texts::default()),
            KindWord::Boolean => Self::Truths(Truths::default()),
        }
    }

    /// Adds a value as a request would have it. One of another type counts as absent.
    pub fn push(&mut self, value: Value<'_>) {
        let mut room = usize::MAX;
        self.push_within(value, &mut room);
    }

    /// Adds a value as [`Self::push`] does. Of `room` a text takes its bytes where it was not there before; where they
    /// are too few it counts as one of those without a name.
    pub fn push_within(&mut self, value: Value<'_>, room: &mut usize) {
        match (self, value) {
            (Self::Numbers(numbers), Value::Number(number)) => numbers.push(Some(number)),
            (Self::Numbers(numbers), Value::Integer(integer)) => numbers.push(Some(integer as f64)),
            (Self::Numbers(numbers), _) => numbers.push(None),
            (Self::Texts(texts), Value::Text(text)) => texts.push_within(Some(text), room),
            (Self::Texts(texts), Value::Integer(integer)) => {
                texts.push_within(Some(&integer.to_string()), room);
            }
            (Self::Texts(texts), Value::Number(number)) if number.fract() == 0.0 => {
                texts.push_within(Some(&(number as i64).to_string()), room);
            }
            (Self::Texts(texts), Value::Boolean(truth)) => {
                texts.push_within(Some(&truth.to_string()), room);
            }
            (Self::Texts(texts), _) => texts.push(None),
            (Self::Truths(truths), Value::Boolean(truth)) => truths.push(Some(truth)),
            (Self::Truths(truths), Value::Integer(integer @ 0..=1)) => {
                truths.push(Some(integer == 1));
            }
            (Self::Truths(truths), Value::Number(number)) if number == 0.0 || number == 1.0 => {
                truths.push(Some(number == 1.0));
            }
            (Self::Truths(truths), _) => truths.push(None),
        }
    }

    /// Puts the values into another order: that of time, where the rows came in none. `order` has the old
    /// place of each value; without effect where it does not have all of them.
    pub fn reorder(&mut self, order: &[usize]) {
        fn pick<T: Copy>(values: &mut Vec<T>, order: &[usize]) {
            let picked: Vec<T> = order.iter().filter_map(|&at| values.get(at).copied()).collect();
            if picked.len() == values.len() {
                *values = picked;
            }
        }
        match self {
            Self::Numbers(numbers) => pick(&mut numbers.values, order),
            Self::Texts(texts) => pick(&mut texts.codes, order),
            Self::Truths(truths) => pick(&mut truths.values, order),
        }
    }

    /// How many values were added.
    pub fn len(&self) -> usize {
        match self {
            Self::Numbers(numbers) => numbers.values.len(),
            Self::Texts(texts) => texts.codes.len(),
            Self::Truths(truths) => truths.values.len(),
        }
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes that the values take, about.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Numbers(numbers) => size_of_val(numbers.values.as_slice()),
            Self::Texts(texts) => {
                let known = texts.known.keys().map(|text| text.len() + TEXT_BYTES);
                size_of_val(texts.codes.as_slice()) + known.sum::<usize>()
            }
            Self::Truths(truths) => size_of_val(truths.values.as_slice()),
        }
    }

    /// Whether the parts fit each other: not always so of what was read.
    pub fn is_sound(&self) -> bool {
        match self {
            Self::Numbers(numbers) => {
                let none = numbers.values.iter().filter(|number| number.is_nan()).count() as u64;
                numbers.missing <= none
            }
            Self::Texts(texts) => {
                let count = texts.known.len();
                let is_code = |code: &u32| (*code as usize) < count;
                let is_one = |code: &u32| matches!(*code, ABSENT | BEYOND) || is_code(code);
                texts.codes.iter().all(is_one) && texts.known.values().all(is_code)
            }
            Self::Truths(_) => true,
        }
    }

    /// How many different texts there are, and one of them; `None` where there are none.
    pub fn different(&self) -> Option<(usize, &str)> {
        match self {
            Self::Texts(texts) => Some((texts.known.len(), texts.known.keys().next()?)),
            Self::Numbers(_) | Self::Truths(_) => None,
        }
    }

    /// How many numbers lie outside of `from` to `to`, and one of them.
    pub fn outside(&self, from: f64, to: f64) -> (usize, Option<f64>) {
        let Self::Numbers(numbers) = self else { return (0, None) };
        let range = single(from)..=single(to);
        let is_outside = |number: &&f32| number.is_finite() && !range.contains(number);
        let mut all = numbers.values.iter().filter(is_outside);
        let first = all.next().map(|number| f64::from(*number));
        (usize::from(first.is_some()) + all.count(), first)
    }

    /// The feature of a baseline that these values make.
    pub fn build(&self, name: &str, options: Options) -> FeatureFile {
        match self {
            Self::Numbers(numbers) => numbers.build(name, options),
            Self::Texts(texts) => texts.build(name, options),
            Self::Truths(truths) => truths.build(name, options),
        }
    }
}

impl Numbers {
    fn build(&self, name: &str, options: Options) -> FeatureFile {
        let mut sorted: Vec<f32> = self.values.iter().copied().filter(|x| x.is_finite()).collect();
        sorted.sort_by(f32::total_cmp);
        let bins = options.bins.clamp(1, BINS_MAX);
        let (edges, points) = match options.even {
            Some((from, to)) => (even_edges(from, to, bins), Vec::new()),
            None => quantile_edges(&sorted, bins),
        };
        // Edges that were made here ascend; without any, all numbers share one bin.
        let cut = Edges::new(&edges, &points).or_else(|_| Edges::new(&[], &[]));
        let mut file = empty(name, KindWord::Numeric);
        let Ok(cut) = cut else { return file };
        let mut counts = vec![0.0; cut.len() + 1];
        let mut sums = vec![0.0; cut.len() + 1];
        for &number in &sorted {
            let bin = cut.bin(number);
            if let (Some(count), Some(sum)) = (counts.get_mut(bin), sums.get_mut(bin)) {
                *count += 1.0;
                *sum += f64::from(number);
            }
        }
        let means = |(count, sum): (&f64, &f64)| (*count > 0.0).then(|| sum / count);
        file.means = counts.iter().zip(&sums).map(means).collect();
        file.min = sorted.first().map(|&x| f64::from(x));
        file.max = sorted.last().map(|&x| f64::from(x));
        let rows = self.values.len().max(1) as f64;
        let nan = self.values.iter().filter(|x| x.is_nan()).count() as u64 - self.missing;
        file.missing = self.missing as f64 / rows;
        file.nan = nan as f64 / rows;
        file.infinite = self.values.iter().filter(|x| x.is_infinite()).count() as f64 / rows;
        (file.edges, file.point_masses) = (edges, points);
        let bin_of = |number: &f32| number.is_finite().then(|| cut.bin(*number));
        let bins = self.values.iter().map(bin_of);
        let feature = Feature::new(name, Role::Input, FeatureKind::Numeric(cut.clone()));
        file.noise = noise(&Groups::new(&feature, &counts), &counts, bins, options.chunk);
        file.with_counts(&counts)
    }
}

impl Texts {
    fn build(&self, name: &str, options: Options) -> FeatureFile {
        let mut frequency = vec![0_u64; self.known.len()];
        for &code in &self.codes {
            if let Some(count) = frequency.get_mut(code as usize) {
                *count += 1;
            }
        }
        let count_of = |code: u32| frequency.get(code as usize).copied().unwrap_or(0);
        let mut order: Vec<(&str, u32)> =
            self.known.iter().map(|(text, &code)| (&**text, code)).collect();
        order.sort_by(|a, b| count_of(b.1).cmp(&count_of(a.1)).then(a.0.cmp(b.0)));
        order.truncate(CATEGORIES_MAX);
        let mut bin_of_code = vec![order.len(); self.known.len()];
        for (bin, (_, code)) in order.iter().enumerate() {
            if let Some(slot) = bin_of_code.get_mut(*code as usize) {
                *slot = bin;
            }
        }
        let bin_of = |code: &u32| {
            (*code != ABSENT)
                .then(|| bin_of_code.get(*code as usize).copied().unwrap_or(order.len()))
        };
        let mut counts = vec![0.0; order.len() + 1];
        for bin in self.codes.iter().filter_map(bin_of) {
            if let Some(count) = counts.get_mut(bin) {
                *count += 1.0;
            }
        }
        let values: Vec<String> = order.iter().map(|(text, _)| (*text).to_owned()).collect();
        let mut file = empty(name, KindWord::Categorical);
        let missing = self.codes.iter().filter(|code| **code == ABSENT).count();
        file.missing = missing as f64 / self.codes.len().max(1) as f64;
        if let Ok(categories) = super::layout::Categories::new(&values) {
            let feature = Feature::new(name, Role::Input, FeatureKind::Categorical(categories));
            let groups = Groups::new(&feature, &counts);
            file.noise = noise(&groups, &counts, self.codes.iter().map(bin_of), options.chunk);
        }
        file.values = values;
        file.with_counts(&counts)
    }
}

impl Truths {
    fn build(&self, name: &str, options: Options) -> FeatureFile {
        let of = |wanted: Option<bool>| self.values.iter().filter(|v| **v == wanted).count() as f64;
        let counts = [of(Some(false)), of(Some(true)), 0.0];
        let mut file = empty(name, KindWord::Boolean);
        file.missing = of(None) / self.values.len().max(1) as f64;
        let feature = Feature::new(name, Role::Input, FeatureKind::Boolean);
        let bins = self.values.iter().map(|value| value.map(usize::from));
        file.noise = noise(&Groups::new(&feature, &counts), &counts, bins, options.chunk);
        file.with_counts(&counts)
    }
}

impl FeatureFile {
    /// The file with the shares of these counts; the last is `other` where the kind has it.
    fn with_counts(mut self, counts: &[f64]) -> Self {
        let total: f64 = counts.iter().sum();
        self.n = Some(total as u64);
        self.mass = super::distance::shares(counts);
        if self.kind != KindWord::Numeric {
            self.other = self.mass.pop();
        }
        self
    }
}

fn empty(name: &str, kind: KindWord) -> FeatureFile {
    FeatureFile {
        name: name.to_owned(),
        kind,
        n: None,
        edges: Vec::new(),
        point_masses: Vec::new(),
        values: Vec::new(),
        mass: Vec::new(),
        other: None,
        means: Vec::new(),
        min: None,
        max: None,
        missing: 0.0,
        nan: 0.0,
        infinite: 0.0,
        noise: None,
        weight: None,
    }
}

/// The quantile `share` of sorted values, as `numpy.quantile` computes it by default: linear between
/// the two neighbours, from the nearer one.
fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let place = share * (sorted.len().checked_sub(1)?) as f64;
    let (low, high) = (*sorted.get(place.floor() as usize)?, *sorted.get(place.ceil() as usize)?);
    let part = place - place.floor();
    let step = high - low;
    Some(if part < 0.5 { low + step * part } else { high - step * (1.0 - part) })
}

/// Edges at the quantiles, each once, and the values that are so frequent that they get a bin of their
/// own: those with more than one bin's share.
fn quantile_edges(sorted: &[f32], bins: usize) -> (Vec<f64>, Vec<f64>) {
    let wide: Vec<f64> = sorted.iter().map(|&x| f64::from(x)).collect();
    let edge = |k: usize| quantile(&wide, k as f64 / bins as f64).map(|edge| edge as f32 + 0.0);
    let mut edges: Vec<f32> = (1..bins).filter_map(edge).collect();
    edges.dedup();
    let mut points = Vec::new();
    for run in sorted.chunk_by(|a, b| a == b) {
        if let Some(&value) = run.first()
            && run.len() * bins > sorted.len()
        {
            points.push((run.len(), value + 0.0));
        }
    }
    // The heaviest first, as long as there is room: each takes two cuts.
    points.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.total_cmp(&b.1)));
    let is_cut_by = |edge: f32, point: f32| edge == point || edge == point.next_up();
    let mut kept: Vec<f32> = Vec::new();
    for (_, point) in points {
        let others =
            edges.iter().filter(|&&e| e != point && !kept.iter().any(|&k| is_cut_by(e, k)));
        if others.count() + 2 * (kept.len() + 1) < BINS_MAX {
            kept.push(point);
        }
    }
    kept.sort_by(f32::total_cmp);
    edges.retain(|&edge| !kept.iter().any(|&point| is_cut_by(edge, point)));
    let wide = |list: Vec<f32>| list.into_iter().map(f64::from).collect();
    (wide(edges), wide(kept))
}

fn even_edges(from: f64, to: f64, bins: usize) -> Vec<f64> {
    let edge = |k: usize| f64::from((from + (to - from) * k as f64 / bins as f64) as f32);
    (1..bins).map(edge).collect()
}

/// How far each whole chunk is from the values without it. It is held against them as a window is held against a
/// baseline: a category that comes in this chunk alone is unknown to the others.
fn noise(
    groups: &Groups,
    counts: &[f64],
    bins: impl Iterator<Item = Option<usize>>,
    chunk: usize,
) -> Option<Noise> {
    let mut inside = vec![0.0; counts.len()];
    let (mut divergences, mut sizes) = (Vec::new(), Vec::new());
    for (row, bin) in (1_usize..).zip(bins) {
        if let Some(count) = bin.and_then(|bin| inside.get_mut(bin)) {
            *count += 1.0;
        }
        if row % chunk.max(1) == 0 {
            let size: f64 = inside.iter().sum();
            if size >= groups.values_min() as f64 {
                let outside: Vec<f64> = counts.iter().zip(&inside).map(|(c, i)| c - i).collect();
                let groups = groups.for_reference(&outside);
                let current = groups.sum(&inside, |count| count);
                divergences.push(psi(&current, &groups.expected(&outside)));
                sizes.push(size);
            }
            inside.fill(0.0);
        }
    }
    if divergences.len() < CHUNKS_MIN {
        return None;
    }
    divergences.sort_by(f64::total_cmp);
    sizes.sort_by(f64::total_cmp);
    Some(Noise {
        // A chunk of rows has fewer values of a feature that is often missing, and varies as those do.
        chunk: (quantile(&sizes, 0.5)? + 0.5).floor() as u64,
        psi_q50: quantile(&divergences, 0.5)?,
        psi_q999: quantile(&divergences, 0.999)?,
    })
}
