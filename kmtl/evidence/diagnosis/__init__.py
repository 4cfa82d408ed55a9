"""What is wrong with a task, from gradients and from short trainings."""
