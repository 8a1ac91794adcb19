//! A struct as the row of a table: `cargo run --example records`.
#![allow(clippy::print_stdout)] // an example talks to its reader

use netabase::{Error, Netabase, Record, RecordField};

#[derive(Record, Debug)]
#[record(table = "birds")]
struct Bird {
    #[record(key)]
    name: String,
    #[record(index)]
    grams: f64,
    diet: Diet,
    seen_at: Vec<Place>,
}

#[derive(RecordField, Debug, Clone, Copy)]
enum Diet {
    Insects,
    Everything,
}

#[derive(RecordField, Debug)]
struct Place {
    name: String,
    metres: Option<i32>,
}

fn bird(name: &str, grams: f64, diet: Diet) -> Bird {
    let place = Place {
        name: "Central Park".to_owned(),
        metres: None,
    };
    Bird {
        name: name.to_owned(),
        grams,
        diet,
        seen_at: vec![place],
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let db = Netabase::in_memory().await?;
    let birds = db.table::<Bird>();
    birds.create().await?;
    birds
        .insert_many(&[
            bird("wren", 9.5, Diet::Insects),
            bird("robin", 18.0, Diet::Everything),
            bird("raven", 1200.0, Diet::Everything),
        ])
        .await?;
    let column = Bird::columns();
    let wanted = column.grams.gt(10.0).and(column.diet.eq(Diet::Everything));
    let mut heavy = birds.filter(wanted).await?;
    while let Some(bird) = heavy.next().await {
        println!("{:?}", bird?);
    }
    println!("{}", heavy.coverage());
    // The same rows in SQL.
    let places = "SELECT place['name'] AS place, count(*) AS birds \
                  FROM (SELECT unnest(seen_at) AS place FROM birds) GROUP BY 1";
    println!("{}", db.sql(places).await?.show().await?);
    db.close().await
}
