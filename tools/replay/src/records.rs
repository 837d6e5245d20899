//! Reads the records that a message names from their stream.

use std::cmp::Ordering;

use aws_sdk_dynamodbstreams::{
    operation::get_shard_iterator::GetShardIteratorError,
    types::{Record, ShardIteratorType},
};
use event_filter::Filters;
use serde_json::Value;

use crate::{Clients, Error, StreamBatch, event::event};

/// Empty pages after which the record counts as missing ("`GetRecords`" may return empty ones).
const EMPTY_PAGES: u32 = 200;

/// Records of a batch that the stream still has.
#[derive(Debug, Clone)]
pub enum Records {
    /// All records.
    Found {
        /// The records that the mapping's filter selects, in the form in which the function receives them.
        events: Vec<Value>,
        /// Maximum records of one batch of the mapping.
        batch_size: usize,
    },
    /// The first record is past the 24 hours for which a stream keeps it, or the stream itself is gone.
    Expired,
}

/// Reads the records of `batch` that the mapping to `function` selects.
///
/// # Errors
/// Fails if a call fails or the mapping does not exist.
pub async fn fetch(clients: &Clients, function: &str, batch: &StreamBatch) -> Result<Records, Error> {
    let Some(records) = read(clients, batch).await? else { return Ok(Records::Expired) };
    let (filters, batch_size) = mapping(clients, function, &batch.stream_arn).await?;
    let events = records.into_iter().map(|record| event(record, &batch.stream_arn));
    Ok(Records::Found { events: events.filter(|event| filters.match_any(event)).collect(), batch_size })
}

/// Reads the records from the first to the last. Returns `None` if the stream no longer has the first.
async fn read(clients: &Clients, batch: &StreamBatch) -> Result<Option<Vec<Record>>, Error> {
    let StreamBatch { stream_arn, shard_id, start_sequence_number, end_sequence_number, .. } = batch;
    let iterator = clients
        .streams
        .get_shard_iterator()
        .stream_arn(stream_arn)
        .shard_id(shard_id)
        .shard_iterator_type(ShardIteratorType::AtSequenceNumber)
        .sequence_number(start_sequence_number)
        .send()
        .await;
    let mut iterator = match iterator {
        Ok(found) => found.shard_iterator,
        Err(error) => match error.as_service_error() {
            Some(
                GetShardIteratorError::TrimmedDataAccessException(_)
                | GetShardIteratorError::ResourceNotFoundException(_),
            ) => return Ok(None),
            _ => return Err(Error::aws("GetShardIterator", error)),
        },
    };
    let (mut records, mut empty): (Vec<Record>, u32) = (Vec::new(), 0);
    while let Some(at) = iterator {
        let page = clients.streams.get_records().shard_iterator(at).send().await;
        let page = page.map_err(|error| Error::aws("GetRecords", error))?;
        iterator = page.next_shard_iterator;
        let page = page.records.unwrap_or_default();
        empty = if page.is_empty() { empty + 1 } else { 0 };
        if empty > EMPTY_PAGES {
            break;
        }
        for record in page {
            let number = record.dynamodb.as_ref().and_then(|change| change.sequence_number.clone()).unwrap_or_default();
            if records.is_empty() && compare(&number, start_sequence_number).is_gt() {
                return Ok(None);
            }
            let end = compare(&number, end_sequence_number);
            if end.is_le() {
                records.push(record);
            }
            if end.is_ge() {
                return Ok(Some(records));
            }
        }
    }
    Err(Error::StreamEnded(end_sequence_number.clone()))
}

/// Returns the filter and the batch size of the mapping from the stream to the function.
async fn mapping(clients: &Clients, function: &str, stream: &str) -> Result<(Filters, usize), Error> {
    let list = clients.lambda.list_event_source_mappings().function_name(function).event_source_arn(stream).send();
    let found = list.await.map_err(|error| Error::aws("ListEventSourceMappings", error))?;
    let Some(mapping) = found.event_source_mappings.unwrap_or_default().into_iter().next() else {
        return Err(Error::NoMapping { stream: stream.to_owned(), function: function.to_owned() });
    };
    let patterns = mapping.filter_criteria.and_then(|criteria| criteria.filters).unwrap_or_default();
    let patterns: Vec<Value> = patterns
        .into_iter()
        .filter_map(|filter| filter.pattern)
        .map(|pattern| serde_json::from_str(&pattern))
        .collect::<Result<_, _>>()
        .map_err(|error| Error::Filter(error.to_string()))?;
    let filters = Filters::compile(&patterns).map_err(|error| Error::Filter(error.to_string()))?;
    let batch_size = mapping.batch_size.and_then(|size| usize::try_from(size).ok()).unwrap_or(100).max(1);
    Ok((filters, batch_size))
}

/// Compares sequence numbers, which are decimal and longer than any integer ("Record" in the DynamoDB Streams API
/// reference: up to 40 digits).
fn compare(a: &str, b: &str) -> Ordering {
    let digits = |number: &str| number.trim_start_matches('0').len();
    digits(a).cmp(&digits(b)).then_with(|| a.trim_start_matches('0').cmp(b.trim_start_matches('0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_numbers_are_compared_as_numbers() {
        for (a, b, expected) in [
            ("2", "10", Ordering::Less),
            ("0010", "9", Ordering::Greater),
            ("800000000003126276362", "0800000000003126276362", Ordering::Equal),
            ("9999999999999999999999999999999999999998", "9999999999999999999999999999999999999999", Ordering::Less),
        ] {
            assert_eq!(compare(a, b), expected, "{a} {b}");
        }
    }
}
