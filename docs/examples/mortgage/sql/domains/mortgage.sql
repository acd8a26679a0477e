-- A row for each application, with the features. Race is in the data, but not a feature: the law forbids it.
select
  rownames::bigint as application,
  pirat::real as payments_to_income,
  hirat::real as housing_to_income,
  lvrat::real as loan_to_value,
  chist::real as consumer_credit,
  mhist::real as mortgage_credit,
  (phist = 'yes')::int::real as public_record,
  (selfemp = 'yes')::int::real as self_employed,
  unemp::real as unemployment
from read_parquet('data/applications.parquet')
