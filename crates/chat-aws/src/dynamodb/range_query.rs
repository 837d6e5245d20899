//! Queries of a range of `chat_channels`.

use aws_sdk_dynamodb::{Client, operation::query::builders::QueryFluentBuilder};

use crate::dynamodb::{item::s, keys::SortRange};

/// Returns the strongly consistent query of a range that is not empty.
pub(crate) fn range_query(client: &Client, table: &str, range: &SortRange) -> QueryFluentBuilder {
    client
        .query()
        .table_name(table)
        .key_condition_expression("channel_id = :partition AND sk BETWEEN :first AND :last")
        .expression_attribute_values(":partition", s(&range.partition))
        .expression_attribute_values(":first", s(&range.first))
        .expression_attribute_values(":last", s(&range.last))
        .consistent_read(true)
}
