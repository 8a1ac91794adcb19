//! One file for each behaviour.

mod blocks;
mod colocate;
mod copy_csv;
mod copy_files;
mod copy_json;
mod copy_parquet;
mod copy_to;
mod files;
mod index_answers;
mod indexes;
mod limits;
mod objects;
mod ordered;
mod provenance;
mod pushdown;
mod reference;
mod requests;
mod retry;
mod sample;
mod scan;
mod scripts;
mod statistics;
mod tpch;
mod transactions;
mod types;
mod upkeep;
