//! A scan request as bytes.
//!
//! Purpose: the peer that plans sends its requests to the peers that hold the rows.
//!
//! Invariant: what [`decode_request`] returns fits the table: every column exists, the predicate is
//! a boolean over it, and nothing was allocated that the bytes did not pay for.
//!
//! Non-goals: authentication; an allow-list of functions (the task context holds the functions).

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::execution::TaskContext;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{Column, DynamicFilterPhysicalExpr};
use datafusion::physical_expr::utils::{conjunction_opt, split_conjunction};
use datafusion::physical_expr_common::physical_expr::{is_volatile, snapshot_physical_expr};
use datafusion_proto::physical_plan::DefaultPhysicalExtensionCodec;
use datafusion_proto::physical_plan::from_proto::parse_physical_expr;
use datafusion_proto::physical_plan::to_proto::serialize_physical_expr;
use datafusion_proto::protobuf::PhysicalExprNode;
use netabase_store::{Error, TableDef};
use prost::Message;
use serde::{Deserialize, Serialize};

use crate::cluster::ScanRequest;
use crate::error::{capacity, error_from_datafusion, invalid};
use crate::provenance::with_provenance;

/// The most bytes that the predicate of one request may take, encoded: 256 KiB.
pub const MAX_PREDICATE_BYTES: usize = 256 << 10;
/// The most bytes of a request beside its predicate: lengths, the limit and the projection.
const MAX_HEADER_BYTES: usize = 64 << 10;
/// The most columns a projection may name; it may repeat a column, but not without bound.
const MAX_PROJECTION: usize = 8192;

/// The encoding: postcard.
#[derive(Debug, Serialize, Deserialize)]
struct WireRequest {
    projection: Vec<u32>,
    fetch: Option<u64>,
    /// Parts of the predicate, all of which must be true, as DataFusion's protobuf.
    conjuncts: Vec<Vec<u8>>,
}

/// Encodes everything but the table, and what an index answers, which only saves work. Dynamic
/// filters are frozen at what they know now; one that cannot be encoded is left out for the same
/// reason.
///
/// # Errors
/// `Capacity` when the predicate takes more than [`MAX_PREDICATE_BYTES`]; `InvalidInput` when it
/// cannot be encoded.
pub fn encode_request(request: &ScanRequest) -> Result<Vec<u8>, Error> {
    let mut conjuncts = Vec::new();
    let mut bytes = 0;
    for part in request.predicate.iter().flat_map(split_conjunction) {
        let optional = is_dynamic(part);
        let encoded = match encode_part(part) {
            Ok(encoded) => encoded,
            Err(_) if optional => continue,
            Err(error) => return Err(error),
        };
        if bytes + encoded.len() > MAX_PREDICATE_BYTES {
            if optional {
                continue;
            }
            return Err(capacity(format!(
                "the filter on table \"{}\" takes more than {MAX_PREDICATE_BYTES} bytes; use fewer \
                 values or join with a table that holds them",
                request.def.name
            )));
        }
        bytes += encoded.len();
        conjuncts.push(encoded);
    }
    let projection = request
        .projection
        .iter()
        .map(|index| *index as u32)
        .collect();
    let fetch = request.fetch.map(|fetch| fetch as u64);
    postcard::to_stdvec(&WireRequest {
        projection,
        fetch,
        conjuncts,
    })
    .map_err(|error| invalid(format!("a scan request cannot be encoded: {error}")))
}

fn is_dynamic(expr: &Arc<dyn PhysicalExpr>) -> bool {
    let mut dynamic = false;
    // The closure never fails, so the traversal does not either.
    let _ = expr.apply(|node| {
        dynamic |= node.is::<DynamicFilterPhysicalExpr>();
        Ok(if dynamic {
            TreeNodeRecursion::Stop
        } else {
            TreeNodeRecursion::Continue
        })
    });
    dynamic
}

fn encode_part(part: &Arc<dyn PhysicalExpr>) -> Result<Vec<u8>, Error> {
    let plain = snapshot_physical_expr(Arc::clone(part)).map_err(error_from_datafusion)?;
    let codec = DefaultPhysicalExtensionCodec {};
    let node = serialize_physical_expr(&plain, &codec).map_err(error_from_datafusion)?;
    Ok(node.encode_to_vec())
}

/// Decodes a request for a table. Functions are looked up in `ctx`.
///
/// # Errors
/// `Capacity` when the bytes exceed the limits; `InvalidInput` when they are broken or do not fit
/// the table.
pub fn decode_request(
    bytes: &[u8],
    def: Arc<TableDef>,
    ctx: &TaskContext,
) -> Result<ScanRequest, Error> {
    if bytes.len() > MAX_PREDICATE_BYTES + MAX_HEADER_BYTES {
        return Err(capacity(format!(
            "a scan request of {} bytes is too large",
            bytes.len()
        )));
    }
    let (wire, rest): (WireRequest, &[u8]) = postcard::take_from_bytes(bytes)
        .map_err(|error| invalid(format!("a scan request is broken: {error}")))?;
    if !rest.is_empty() {
        return Err(invalid(
            "a scan request is broken: it is followed by other bytes",
        ));
    }
    if wire.conjuncts.iter().map(Vec::len).sum::<usize>() > MAX_PREDICATE_BYTES {
        return Err(capacity("the filter of a scan request is too large"));
    }
    let schema = with_provenance(&def.schema);
    let projection = decode_projection(&wire.projection, &def, &schema)?;
    let parts = wire
        .conjuncts
        .iter()
        .map(|part| decode_part(part, &schema, ctx));
    let predicate = conjunction_opt(parts.collect::<Result<Vec<_>, Error>>()?);
    let fetch = wire
        .fetch
        .map(|fetch| usize::try_from(fetch).unwrap_or(usize::MAX));
    Ok(ScanRequest {
        def,
        schema,
        projection,
        predicate,
        fetch,
        answer: None,
    })
}

fn decode_projection(
    indices: &[u32],
    def: &TableDef,
    schema: &Schema,
) -> Result<Vec<usize>, Error> {
    if indices.len() > MAX_PROJECTION {
        return Err(capacity(format!(
            "a scan request names {} columns",
            indices.len()
        )));
    }
    let columns = schema.fields().len();
    let projection: Vec<usize> = indices.iter().map(|index| *index as usize).collect();
    match projection.iter().find(|index| **index >= columns) {
        Some(index) => Err(invalid(format!(
            "a scan request names column {index}, but table \"{}\" has {columns}",
            def.name
        ))),
        None => Ok(projection),
    }
}

fn decode_part(
    bytes: &[u8],
    schema: &Schema,
    ctx: &TaskContext,
) -> Result<Arc<dyn PhysicalExpr>, Error> {
    let node = PhysicalExprNode::decode(bytes)
        .map_err(|error| invalid(format!("the filter of a scan request is broken: {error}")))?;
    let codec = DefaultPhysicalExtensionCodec {};
    let expr = parse_physical_expr(&node, ctx, schema, &codec).map_err(error_from_datafusion)?;
    check_columns(&expr, schema)?;
    if is_volatile(&expr) {
        return Err(invalid(format!(
            "the filter {expr} may change from row to row"
        )));
    }
    match expr.data_type(schema).map_err(error_from_datafusion)? {
        DataType::Boolean => Ok(expr),
        other => Err(invalid(format!(
            "the filter {expr} is {other}, not Boolean"
        ))),
    }
}

/// Every column exists under its name.
fn check_columns(expr: &Arc<dyn PhysicalExpr>, schema: &Schema) -> Result<(), Error> {
    let mut wrong = None;
    // The closure never fails, so the traversal does not either.
    let _ = expr.apply(|node| {
        if let Some(column) = node.downcast_ref::<Column>() {
            let field = schema.fields().get(column.index());
            if field.is_none_or(|field| field.name() != column.name()) {
                wrong = Some(column.to_string());
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    });
    match wrong {
        Some(column) => Err(invalid(format!(
            "the filter names a column {column} that is not there"
        ))),
        None => Ok(()),
    }
}
