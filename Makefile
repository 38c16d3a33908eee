# The habit of typing make; ./dev does the work.
.PHONY: demo test check bench
demo test check bench:
	@./dev $@ $(ARGS)
