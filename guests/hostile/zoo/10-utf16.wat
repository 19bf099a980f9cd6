;; W-10: a name in UTF-16 with half a surrogate pair
;; outcome: call contract
;; says: its answer can't be read
;; cost: quick
;; encoding: utf16

;;@data
(data (i32.const 512) "c\00\00\d8t\00a\00l\00o\00g\00")
(data (i32.const 528) "b\00y\00-\00h\00a\00n\00d\00")
(data (i32.const 544) "1\00.\000\00.\000\00")
