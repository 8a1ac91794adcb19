#![no_main]

libfuzzer_sys::fuzz_target!(init: netabase_fuzz::let_panics_be_caught(), |bytes: &[u8]| {
    netabase_fuzz::table_definition(bytes)
});
