"""Operations of ML programs by family; a file's presence registers what it defines."""
