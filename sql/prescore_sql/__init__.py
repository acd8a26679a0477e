"""prescore's SQL, as package data: numbered migrations and files of named queries. No Python lives here."""
