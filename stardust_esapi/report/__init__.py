"""What a run did, for people: the summary, the pictures and the HTML report."""
