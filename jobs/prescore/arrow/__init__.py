"""What of Arrow the jobs and the lookup API share: the types of columns, and rows that Postgres copies out."""
