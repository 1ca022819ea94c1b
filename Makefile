PYTHON ?= python3
COURSE = $(PYTHON) -m helpers
ifdef ENGINE
export LAB_ENGINE := $(ENGINE)
endif

.PHONY: help lab test env up down status doctor reset outputs try mutants bench soak
help:    ; @$(COURSE) help
lab:     ; @$(COURSE) lab $(ARGS)
test:    ; @$(COURSE) test $(ARGS)
env:     ; @$(COURSE) env
up:      ; @$(COURSE) up
down:    ; @$(COURSE) down $(ARGS)
status:  ; @$(COURSE) status $(ARGS)
doctor:  ; @$(COURSE) doctor
reset:   ; @$(COURSE) reset $(LESSON)
outputs: ; @$(COURSE) outputs $(ARGS)
try:     ; @$(COURSE) try $(ARGS)
mutants: ; @$(COURSE) mutants $(LESSON) $(ARGS)
bench:   ; @$(COURSE) bench
soak:    ; @$(COURSE) soak $(or $(N),20)
