//! The columns of the Parquet files, version 1: one table for predictions, feedback and gaps.
//!
//! Owns the names, types and ids of all columns, and from them the builders that writing fills and
//! the arrays that reading takes apart. Never decides which row goes where. Columns are only ever
//! added, at the end, with the next id: a test holds the table against its committed text.

use arrow_array::builder::{
    ArrayBuilder, BinaryBuilder, BooleanBuilder, FixedSizeBinaryBuilder, MapBuilder, MapFieldNames,
    PrimitiveBuilder, StringBuilder,
};
use arrow_array::types::{
    Float32Type, Float64Type, TimestampMicrosecondType, UInt8Type, UInt16Type, UInt32Type,
    UInt64Type,
};
use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, FixedSizeBinaryArray, MapArray, PrimitiveArray,
    RecordBatch, StringArray,
};
use arrow_schema::{DataType, Field, Fields, TimeUnit};

/// What a column is like, and so how it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// Few different values: dictionary, statistics of each row group.
    Word,
    /// A text by which rows are looked up: bloom filter, no dictionary.
    Key,
    /// A number by which rows are found: statistics of each page.
    Range,
    /// Anything else of moderate size: what the library does by default, statistics of each row group.
    Plain,
    /// Large or random bytes: neither dictionary nor statistics.
    Opaque,
}

/// One column.
#[derive(Debug, Clone)]
pub(super) struct Column {
    /// Its id for readers that go by ids (`PARQUET:field_id`, which is Iceberg's).
    pub(super) id: u32,
    pub(super) name: &'static str,
    pub(super) data_type: DataType,
    pub(super) usage: Use,
}

/// A type of columns: its builder and its array.
pub(super) trait ColumnType {
    type Builder: ArrayBuilder;
    type Array: Array + Clone + 'static;
    fn data_type() -> DataType;
    fn builder() -> Self::Builder;
    fn append_null(builder: &mut Self::Builder);
}

/// UTF-8 text.
pub(super) struct Text;
/// Bytes of any length.
pub(super) struct Bytes;
/// The 16 bytes of an XXH3-128.
pub(super) struct Hash;
/// True or false.
pub(super) struct Bool;
/// Pairs of name and value, in order, names possibly more than once.
pub(super) struct Headers;
/// A number.
pub(super) struct Number<T>(std::marker::PhantomData<T>);
/// Microseconds since the Unix epoch, UTC.
pub(super) struct Time;

/// Bytes of [`Hash`].
pub(super) const HASH_BYTES: i32 = 16;
const UTC: &str = "UTC";

macro_rules! column_type {
    ($name:ty, $builder:ty, $array:ty, $data_type:expr, $new:expr) => {
        impl ColumnType for $name {
            type Builder = $builder;
            type Array = $array;
            fn data_type() -> DataType {
                $data_type
            }
            fn builder() -> Self::Builder {
                $new
            }
            fn append_null(builder: &mut Self::Builder) {
                builder.append_null();
            }
        }
    };
}

column_type!(Text, StringBuilder, StringArray, DataType::Utf8, StringBuilder::new());
column_type!(Bytes, BinaryBuilder, BinaryArray, DataType::Binary, BinaryBuilder::new());
column_type!(
    Hash,
    FixedSizeBinaryBuilder,
    FixedSizeBinaryArray,
    DataType::FixedSizeBinary(HASH_BYTES),
    FixedSizeBinaryBuilder::new(HASH_BYTES)
);
column_type!(Bool, BooleanBuilder, BooleanArray, DataType::Boolean, BooleanBuilder::new());
column_type!(
    Time,
    PrimitiveBuilder<TimestampMicrosecondType>,
    PrimitiveArray<TimestampMicrosecondType>,
    DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into())),
    PrimitiveBuilder::new().with_timezone(UTC)
);

impl<T: arrow_array::types::ArrowPrimitiveType> ColumnType for Number<T> {
    type Builder = PrimitiveBuilder<T>;
    type Array = PrimitiveArray<T>;
    fn data_type() -> DataType {
        T::DATA_TYPE
    }
    fn builder() -> Self::Builder {
        PrimitiveBuilder::new()
    }
    fn append_null(builder: &mut Self::Builder) {
        builder.append_null();
    }
}

/// The names that the Parquet format gives to the parts of a map (LogicalTypes.md, "Maps").
const MAP_NAMES: [&str; 3] = ["key_value", "key", "value"];

impl ColumnType for Headers {
    type Builder = MapBuilder<StringBuilder, StringBuilder>;
    type Array = MapArray;
    fn data_type() -> DataType {
        let [entry, key, value] = MAP_NAMES;
        let parts = Fields::from(vec![
            Field::new(key, DataType::Utf8, false),
            Field::new(value, DataType::Utf8, true),
        ]);
        DataType::Map(Field::new(entry, DataType::Struct(parts), false).into(), false)
    }
    fn builder() -> Self::Builder {
        let [entry, key, value] = MAP_NAMES.map(str::to_owned);
        let names = MapFieldNames { entry, key, value };
        MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new())
    }
    fn append_null(builder: &mut Self::Builder) {
        // It fails where a name has no value; both are always appended together.
        let appended = builder.append_nulls(1);
        debug_assert!(appended.is_ok(), "{appended:?}");
    }
}

/// Declares the columns: their list, a builder for each, and an array for each.
macro_rules! columns {
    ($(($id:literal, $name:ident, $kind:ty, $usage:ident),)+) => {
        /// All columns, in the order of their ids.
        pub(super) fn columns() -> Vec<Column> {
            vec![$(Column {
                id: $id,
                name: stringify!($name),
                data_type: <$kind>::data_type(),
                usage: Use::$usage,
            },)+]
        }

        /// A builder for each column.
        pub(super) struct Builders { $(pub(super) $name: <$kind as ColumnType>::Builder,)+ }

        impl Builders {
            pub(super) fn new() -> Self {
                Self { $($name: <$kind>::builder(),)+ }
            }

            /// Ends a row: columns that were given nothing since the last one get a null.
            pub(super) fn end_row(&mut self, rows: usize) {
                $(if self.$name.len() < rows { <$kind>::append_null(&mut self.$name); })+
            }

            /// The arrays, which leaves the builders empty.
            pub(super) fn finish(&mut self) -> Vec<ArrayRef> {
                vec![$(ArrayBuilder::finish(&mut self.$name),)+]
            }
        }

        /// The array of each column that a batch has, with the type that it should have.
        #[derive(Debug, Clone, Default)]
        #[expect(dead_code, reason = "what is derived from other columns is not read back")]
        pub(super) struct Arrays { $(pub(super) $name: Option<<$kind as ColumnType>::Array>,)+ }

        impl Arrays {
            pub(super) fn of(batch: &RecordBatch) -> Self {
                Self { $($name: array(batch, stringify!($name)),)+ }
            }
        }
    };
}

fn array<A: Array + Clone + 'static>(batch: &RecordBatch, name: &str) -> Option<A> {
    batch.column_by_name(name)?.as_any().downcast_ref::<A>().cloned()
}

type U8 = Number<UInt8Type>;
type U16 = Number<UInt16Type>;
type U32 = Number<UInt32Type>;
type U64 = Number<UInt64Type>;
type F32 = Number<Float32Type>;
type F64 = Number<Float64Type>;

columns! {
    (1, record_id, Text, Key),
    (2, lsn, U64, Range),
    (3, kind, Text, Word),
    (4, ts, Time, Range),
    (5, replica_id, Text, Word),
    (6, schema_version, U16, Word),
    (7, request_id, Text, Key),
    (8, trace_id, Text, Key),
    (9, span_id, Text, Opaque),
    (10, parent_record_id, Text, Plain),
    (11, route, Text, Word),
    (12, protocol, Text, Word),
    (13, model, Text, Word),
    (14, model_version, Text, Word),
    (15, model_digest, Text, Word),
    (16, backend, Text, Word),
    (17, decision_reason, Text, Word),
    (18, weight_epoch, U64, Word),
    (19, entropy, U64, Opaque),
    (20, attempt, U8, Word),
    (21, method, Text, Word),
    (22, path, Text, Word),
    (23, client, Text, Word),
    (24, req_content_type, Text, Word),
    (25, req_content_encoding, Text, Word),
    (26, req_headers, Headers, Word),
    (27, req_body, Bytes, Opaque),
    (28, req_bytes, U64, Plain),
    (29, req_captured, U32, Plain),
    (30, req_hash, Hash, Opaque),
    (31, req_omission, Text, Word),
    (32, req_redacted, U16, Word),
    (33, req_chunks, U32, Word),
    (34, resp_content_type, Text, Word),
    (35, resp_content_encoding, Text, Word),
    (36, resp_headers, Headers, Word),
    (37, resp_body, Bytes, Opaque),
    (38, resp_bytes, U64, Plain),
    (39, resp_captured, U32, Plain),
    (40, resp_hash, Hash, Opaque),
    (41, resp_omission, Text, Word),
    (42, resp_redacted, U16, Word),
    (43, resp_chunks, U32, Word),
    (44, status, U16, Range),
    (45, outcome, Text, Word),
    (46, error_code, Text, Word),
    (47, error_detail, Text, Plain),
    (48, t_total, U32, Range),
    (49, t_queue, U32, Plain),
    (50, t_route, U32, Plain),
    (51, t_upstream_connect, U32, Plain),
    (52, t_ttfb, U32, Plain),
    (53, t_infer, U32, Plain),
    (54, sample_rate, F32, Word),
    (55, batch_size, U32, Word),
    (56, durability, Text, Word),
    (57, replayed, Bool, Plain),
    (58, clock_stepped, Bool, Plain),
    (59, feedback_key, Text, Key),
    (60, session, Text, Plain),
    (61, input_tokens, U32, Plain),
    (62, output_tokens, U32, Plain),
    (63, feedback_id, Text, Plain),
    (64, target_record_id, Text, Plain),
    (65, target_request_id, Text, Plain),
    (66, target_feedback_key, Text, Plain),
    (67, metric, Text, Word),
    (68, value, F64, Plain),
    (69, label, Text, Word),
    (70, source, Text, Word),
    (71, observed, Time, Plain),
    (72, retracted, Bool, Plain),
    (73, gap_reason, Text, Word),
    (74, gap_first_lsn, U64, Plain),
    (75, gap_last_lsn, U64, Plain),
    (76, gap_records, U64, Plain),
    (77, gap_consumer, Text, Word),
    (78, gap_detail, Text, Plain),
    (79, grpc_status, U8, Word),
}
