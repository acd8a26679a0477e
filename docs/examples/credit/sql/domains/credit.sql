-- The domain of credit: one row for every loan. train.py reads its features with this query too. Age and marital status
-- are in the table, but no lender should decide by them.
select
    loan_id,
    branch,
    -- Text features. ONNX has no missing text, so the gaps have a word of their own, here as in training.
    coalesce("Home", 'unknown') as home,
    coalesce("Job", 'unknown') as job,
    "Records" as earlier_default,
    -- Numbers. Where one is missing, the model takes the median of training.
    "Seniority"::real as years_in_job,
    "Time"::real as months,
    "Expenses"::real as expenses,
    "Income"::real as income,
    "Assets"::real as assets,
    "Debt"::real as debt,
    "Amount"::real as amount,
    ("Amount" / "Price")::real as share_financed
from read_parquet('data/loans.parquet')
