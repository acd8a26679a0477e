-- The domain of churn: one row for every customer. train.py reads its features with this query too.
select
    customer_id,
    -- Features. The model takes 32-bit floats and texts.
    contract,
    internet_service,
    payment_method,
    coalesce(online_security, 'No') as online_security,
    coalesce(tech_support, 'No') as tech_support,
    tenure::real as tenure,
    monthly_charges::real as monthly_charges,
    paperless_billing::real as paperless_billing,
    senior_citizen::real as senior_citizen,
    dependents::real as dependents
from read_parquet('data/customers.parquet')
