-- Which paying customers have an open opportunity?
SELECT a.name AS account,
       count(DISTINCT o.id) AS open_opportunities,
       sum(DISTINCT o.amount) AS pipeline,
       (SELECT sum(ch.amount) / 100.0 FROM stripe.charges ch
        WHERE ch.customer = ANY (array_agg(DISTINCT c.id)) AND ch.status = 'succeeded') AS paid_so_far
FROM salesforce.accounts a
JOIN salesforce.opportunities o ON o.account_id = a.id AND NOT o.is_closed AND NOT o.is_deleted
JOIN stripe.customers c ON c.metadata ->> 'salesforce_account_id' = a.id AND NOT c.is_deleted
JOIN stripe.subscriptions s ON s.customer = c.id AND s.status = 'active'
WHERE NOT a.is_deleted
GROUP BY a.id, a.name
ORDER BY pipeline DESC NULLS LAST
LIMIT 10;

-- Revenue by the industry of the account.
SELECT coalesce(a.industry, 'unknown') AS industry,
       count(DISTINCT c.id) AS customers,
       sum(ch.amount - ch.amount_refunded) / 100.0 AS revenue
FROM stripe.charges ch
JOIN stripe.customers c ON c.id = ch.customer
LEFT JOIN salesforce.accounts a ON a.id = c.metadata ->> 'salesforce_account_id'
WHERE ch.paid AND ch.status = 'succeeded'
GROUP BY 1
ORDER BY revenue DESC;
