"""The pipelines: the fields they take, the model they run, the replies they give."""
