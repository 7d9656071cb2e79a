//! How the columns are stored: the Arrow schema, encodings, statistics and bloom filters.
//!
//! Owns the settings of the Parquet writer and the key-values in a file's footer. Never sees a row.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_schema::{Field, Schema, SchemaRef};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use super::columns::{Use, columns};
use super::stamp::{CRC_KEY, PLACEHOLDER};
use crate::domain::record::SCHEMA_VERSION;

/// Rows of a row group.
pub(super) const GROUP_ROWS_MAX: usize = 64 * 1024;
/// Bytes of rows, before encoding, of a row group; one longer row may exceed it.
pub(super) const GROUP_BYTES_MAX: usize = 32 * 1024 * 1024;
/// The share of false answers of a bloom filter.
const BLOOM_FPP: f64 = 0.01;
/// Bytes of a data page, before compression.
const PAGE_BYTES: usize = 1024 * 1024;

/// The name of the schema.
pub(super) const ROOT: &str = "pointsman";
/// The key of the schema's version in the footer.
pub(super) const SCHEMA_KEY: &str = "pointsman.schema_version";
const REPLICA_KEY: &str = "pointsman.replica_id";
const FIRST_KEY: &str = "pointsman.first_lsn";
const LAST_KEY: &str = "pointsman.last_lsn";
const BUILD_KEY: &str = "pointsman.build";

/// The Arrow schema. Every column may be null: a row has the columns of its kind.
pub(super) fn schema() -> SchemaRef {
    let fields = columns().into_iter().map(|column| {
        let id = (PARQUET_FIELD_ID_META_KEY.to_owned(), column.id.to_string());
        Field::new(column.name, column.data_type, true).with_metadata(HashMap::from([id]))
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// How the columns are encoded, with bodies at this level of zstd; a level that zstd does not have
/// counts as 1.
pub(super) fn properties(level: i32) -> WriterProperties {
    let zstd = ZstdLevel::try_new(level).unwrap_or_default();
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(zstd))
        .set_created_by(format!("pointsman version {}", env!("CARGO_PKG_VERSION")))
        .set_max_row_group_row_count(Some(GROUP_ROWS_MAX))
        .set_max_row_group_bytes(None)
        .set_data_page_size_limit(PAGE_BYTES)
        .set_statistics_enabled(EnabledStatistics::Chunk);
    for column in columns() {
        let path = ColumnPath::from(column.name);
        properties = match column.usage {
            Use::Word | Use::Plain => properties,
            Use::Range => properties.set_column_statistics_enabled(path, EnabledStatistics::Page),
            Use::Key => properties
                .set_column_dictionary_enabled(path.clone(), false)
                .set_column_bloom_filter_fpp(path.clone(), BLOOM_FPP)
                .set_column_bloom_filter_max_ndv(path, GROUP_ROWS_MAX as u64),
            Use::Opaque => properties
                .set_column_dictionary_enabled(path.clone(), false)
                .set_column_statistics_enabled(path, EnabledStatistics::None),
        };
    }
    // Models are found page by page too, although they are words.
    let model = ColumnPath::from("model");
    properties.set_column_statistics_enabled(model, EnabledStatistics::Page).build()
}

/// What the footer says about a file.
pub(super) fn key_values(replica: &str, first_lsn: u64, last_lsn: u64) -> Vec<KeyValue> {
    let values = [
        (SCHEMA_KEY, SCHEMA_VERSION.to_string()),
        (REPLICA_KEY, replica.to_owned()),
        (FIRST_KEY, first_lsn.to_string()),
        (LAST_KEY, last_lsn.to_string()),
        (BUILD_KEY, env!("CARGO_PKG_VERSION").to_owned()),
        (CRC_KEY, PLACEHOLDER.to_owned()),
    ];
    values.map(|(key, value)| KeyValue::new(key.to_owned(), value)).into()
}

#[cfg(test)]
mod tests {
    use parquet::arrow::ArrowSchemaConverter;
    use parquet::schema::printer::print_schema;

    use super::*;

    /// Readers of old files, and files of old gateways, rely on each line of the committed text.
    #[test]
    fn the_schema_only_grows_at_its_end() {
        let committed = include_str!("schema.txt");
        let parquet = ArrowSchemaConverter::new().schema_root(ROOT).convert(&schema());
        let parquet = parquet.expect("a Parquet schema");
        let mut printed = Vec::new();
        print_schema(&mut printed, parquet.root_schema());
        let printed = String::from_utf8(printed).expect("text");
        let old = committed.trim_end().trim_end_matches('}');
        assert!(printed.starts_with(old), "changed, not appended to:\n{printed}");
        assert_eq!(printed.trim_end(), committed.trim_end(), "append the new lines to schema.txt");
    }

    #[test]
    fn ids_are_the_places_of_the_columns() {
        for (column, id) in columns().iter().zip(1..) {
            assert_eq!(column.id, id, "{}", column.name);
        }
    }
}
