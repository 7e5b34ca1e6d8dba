\echo Which paying customers have an open opportunity?
WITH pipeline AS (
    SELECT account_id, count(*) AS opportunities, sum(amount) AS amount
    FROM salesforce.opportunities
    WHERE NOT is_closed AND NOT is_deleted
    GROUP BY account_id
), paid AS (
    SELECT c.metadata ->> 'salesforce_account_id' AS account_id, sum(ch.amount - ch.amount_refunded) / 100.0 AS amount
    FROM stripe.customers c
    JOIN stripe.charges ch ON ch.customer_id = c.id AND ch.status = 'succeeded'
    WHERE NOT c.is_deleted
    GROUP BY 1
)
SELECT a.name AS account, a.industry, round(paid.amount, 2) AS paid_so_far, pipeline.opportunities, pipeline.amount AS pipeline
FROM salesforce.accounts a
JOIN pipeline ON pipeline.account_id = a.id
JOIN paid ON paid.account_id = a.id
WHERE NOT a.is_deleted
ORDER BY pipeline.amount DESC NULLS LAST
LIMIT 10;

\echo Revenue by the industry of the account:
SELECT coalesce(a.industry, 'unknown') AS industry,
       count(DISTINCT c.id) AS customers,
       round(sum(ch.amount - ch.amount_refunded) / 100.0, 2) AS revenue
FROM stripe.charges ch
JOIN stripe.customers c ON c.id = ch.customer_id
LEFT JOIN salesforce.accounts a ON a.id = c.metadata ->> 'salesforce_account_id'
WHERE ch.status = 'succeeded'
GROUP BY 1
ORDER BY revenue DESC;
