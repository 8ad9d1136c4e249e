"""Floor 3: stages. Rows in the lake become rows in the lake; nothing here imports Prefect."""
